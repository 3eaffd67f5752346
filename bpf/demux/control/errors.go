package control

import (
	"errors"
	"net/http"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Code says what kind of mistake an [Error] is.
type Code string

// CodeInternal is that of everything without a code of its own.
const CodeInternal Code = "internal"

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

// kinds are the codes of the API but for [CodeInternal].
func kinds() []kind {
	return []kind{
		{"full", demux.ErrFull, http.StatusInsufficientStorage},               // the table holds as many MACs as it can
		{"bad_mac", demux.ErrBadMAC, http.StatusBadRequest},                   // malformed, zero or a group address
		{"bad_place", demux.ErrBadPlace, http.StatusBadRequest},               // malformed: no VID from 0 to 4094, or an unknown protocol
		{"already_assigned", demux.ErrAssigned, http.StatusConflict},          // the MAC has another worker or may be at other places, and no reassignment was asked for
		{"not_assigned", demux.ErrNotAssigned, http.StatusNotFound},           // the MAC has no worker
		{"unknown_interface", demux.ErrUnknownInterface, http.StatusNotFound}, // no interface has that name
		{"wrong_role", demux.ErrWrongRole, http.StatusConflict},               // the interface is a trunk, or already something else
		{"unfit", demux.ErrUnfit, http.StatusConflict},                        // the interface looks like one of the host's own, and force was not asked for
		{"served", demux.ErrServed, http.StatusConflict},                      // another vlandemux serves the interface
		{"taken_over", demux.ErrTakenOver, http.StatusConflict},               // another process runs this dataplane now
		{"bad_request", ErrBadRequest, http.StatusBadRequest},                 // malformed request, or no such route
		{"slow_reader", ErrSlowReader, http.StatusInternalServerError},        // an event stream was ended because nobody read it
		{"stopping", ErrStopping, http.StatusServiceUnavailable},              // the process ends
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
