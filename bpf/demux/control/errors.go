package control

import (
	"errors"
	"net/http"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Code says what kind of mistake an [Error] is.
type Code string

// The codes of the API.
const (
	CodeFull             Code = "full"              // the table holds as many MACs as it can
	CodeBadMAC           Code = "bad_mac"           // malformed, zero or a group address
	CodeBadPlace         Code = "bad_place"         // malformed: no VID from 0 to 4094, or an unknown protocol
	CodeAlreadyAssigned  Code = "already_assigned"  // the MAC has a worker, and no reassignment was asked for
	CodeNotAssigned      Code = "not_assigned"      // the MAC has no worker
	CodeUnknownInterface Code = "unknown_interface" // no interface has that name
	CodeWrongRole        Code = "wrong_role"        // the interface is a trunk, or already something else
	CodeUnfit            Code = "unfit"             // the interface looks like one of the host's own, and force was not asked for
	CodeServed           Code = "served"            // another vlandemux serves the interface
	CodeTakenOver        Code = "taken_over"        // another process runs this dataplane now
	CodeBadRequest       Code = "bad_request"       // malformed request, or no such route
	CodeSlowReader       Code = "slow_reader"       // an event stream was ended because nobody read it
	CodeStopping         Code = "stopping"          // the process ends
	CodeInternal         Code = "internal"          // everything else
)

var (
	// ErrSlowReader ends a Watch whose handler fell so far behind that the demux let go of it.
	ErrSlowReader = errors.New("event reader too slow")
	// ErrStopping ends a Watch because the demux's process ends.
	ErrStopping = errors.New("vlandemux is stopping")
	// ErrBadRequest is a request the server could not make sense of.
	ErrBadRequest = errors.New("bad request")
)

// Error is a failure as the API reports it. On the client's side errors.Is finds the sentinel that
// caused it on the server's, e.g. errors.Is(err, demux.ErrFull).
type Error struct {
	// Code is for programs.
	Code Code `json:"code"`
	// Message is for people: one line, complete.
	Message string `json:"message"`
}

var _ error = (*Error)(nil)

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the sentinel that the code stands for, nil for an internal error.
func (e *Error) Unwrap() error {
	for _, k := range kinds() {
		if k.code == e.Code {
			return k.sentinel
		}
	}
	return nil
}

// kind ties a code to the sentinel it stands for and the HTTP status it is sent with.
type kind struct {
	code     Code
	sentinel error
	status   int
}

func kinds() []kind {
	return []kind{
		{CodeFull, demux.ErrFull, http.StatusInsufficientStorage},
		{CodeBadMAC, demux.ErrBadMAC, http.StatusBadRequest},
		{CodeBadPlace, demux.ErrBadPlace, http.StatusBadRequest},
		{CodeAlreadyAssigned, demux.ErrAssigned, http.StatusConflict},
		{CodeNotAssigned, demux.ErrNotAssigned, http.StatusNotFound},
		{CodeUnknownInterface, demux.ErrUnknownInterface, http.StatusNotFound},
		{CodeWrongRole, demux.ErrWrongRole, http.StatusConflict},
		{CodeUnfit, demux.ErrUnfit, http.StatusConflict},
		{CodeServed, demux.ErrServed, http.StatusConflict},
		{CodeTakenOver, demux.ErrTakenOver, http.StatusConflict},
		{CodeBadRequest, ErrBadRequest, http.StatusBadRequest},
		{CodeSlowReader, ErrSlowReader, http.StatusInternalServerError},
		{CodeStopping, ErrStopping, http.StatusServiceUnavailable},
	}
}

// classify turns any error into one for the wire, and the HTTP status that goes with it.
func classify(err error) (*Error, int) {
	for _, k := range kinds() {
		if errors.Is(err, k.sentinel) {
			return &Error{Code: k.code, Message: err.Error()}, k.status
		}
	}
	return &Error{Code: CodeInternal, Message: err.Error()}, http.StatusInternalServerError
}
