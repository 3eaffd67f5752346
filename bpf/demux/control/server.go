package control

import (
	"context"
	_ "embed" // the API's description
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

const (
	// assignmentOctets and placeOctets bound what an assignment and a place of it take in a request's body, with indentation.
	assignmentOctets, placeOctets = 512, 128
	// readTimeout bounds how long a request's header, and each piece of its body, may take to arrive.
	readTimeout = 10 * time.Second
	// idleTimeout is how long a connection may have no request.
	idleTimeout = 2 * time.Minute
	// writeGrace is how long a reader that was let go has to fetch what was written for it.
	writeGrace = 10 * time.Second
	// stopGrace is how long running requests have to finish when the server stops.
	stopGrace = 2 * time.Second
)

// ServerOptions describe what a [Server] answers with and for.
type ServerOptions struct {
	// Dataplane is the demux it controls.
	Dataplane Dataplane
	// Names translates interface names.
	Names Names
	// Version, Kernel and BPFFS are reported in [Status] as they are.
	Version, Kernel, BPFFS string
	// Following tells how the interfaces are followed. Optional.
	Following func() Following
	// Metrics answers GET /metrics, as package metrics does. Optional.
	Metrics http.Handler
	// Log receives what goes wrong beside the requests. Optional.
	Log *slog.Logger
}

// Server is the API's server side. Create it with [NewServer]; one Serve a server.
type Server struct {
	options ServerOptions
	log     *slog.Logger
	started time.Time
	hub     *hub[Event]
	merged  *merger
	drops   *dropReader
	mux     *http.ServeMux
	// warned has the names of interfaces whose obstacles were logged.
	warned sync.Map
	// applying is held from the comparison of assignments to the change that follows.
	applying sync.Mutex
}

//go:embed openapi.yaml
var openAPI []byte

// routes are what the server answers, by method and path. openapi.yaml describes each.
func (s *Server) routes() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{
		"GET /v1/status":               s.handle(s.getStatus),
		"GET /v1/assignments":          s.handle(s.getAssignments),
		"POST /v1/assignments":         s.handle(s.postAssignments),
		"PUT /v1/assignments":          s.handle(s.putAssignments),
		"PUT /v1/assignments/{mac}":    s.handle(s.putAssignment),
		"DELETE /v1/assignments/{mac}": s.handle(s.deleteAssignment),
		"DELETE /v1/interfaces/{name}": s.handle(s.deleteInterface),
		"GET /v1/counters":             s.getCounters,
		"GET /v1/events":               s.getEvents,
		"GET /v1/drops":                s.getDrops,
		"GET /v1/openapi.yaml":         getOpenAPI,
	}
	if s.options.Metrics != nil {
		routes["GET /metrics"] = s.options.Metrics.ServeHTTP
	}
	return routes
}

func getOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // fails only when the client has left
}

// NewServer returns a server that is not serving yet.
func NewServer(options ServerOptions) *Server {
	s := &Server{options: options, log: options.Log, started: time.Now(), hub: newHub[Event](), merged: newMerger(), mux: http.NewServeMux()}
	s.drops = &dropReader{hub: newHub[Drop](), plane: options.Dataplane, names: options.Names}
	if options.Following == nil {
		s.options.Following = func() Following { return Following{} }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for pattern, answer := range s.routes() {
		s.mux.HandleFunc(pattern, answer)
	}
	s.mux.HandleFunc("/", s.handle(s.noRoute))
	return s
}

// Serve answers requests on listener, which it closes, until ctx ends. It then gives running requests
// two seconds, tells event readers that it stops, and returns nil.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	reading, stopReading := context.WithCancel(ctx)
	var readers sync.WaitGroup
	readers.Go(func() { s.readEvents(reading) })
	readers.Go(func() { s.merged.run(reading) })
	defer func() { stopReading(); readers.Wait() }()
	s.warnOfAll()

	server := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		s.endStreams(ErrStopping)
		return fmt.Errorf("serving the control socket: %w", err)
	case <-ctx.Done():
	}
	s.endStreams(ErrStopping)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		// An event reader that reads nothing: its connection is cut.
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the control socket: %w", err)
	}
	return nil
}

// readEvents publishes the dataplane's events until ctx ends. Without subscribers it reads them all the
// same, so that the ring buffer never fills.
func (s *Server) readEvents(ctx context.Context) {
	err := s.options.Dataplane.ReadEvents(ctx, func(e demux.Event) error {
		told := event(s.options.Names, e)
		s.hub.publish(told)
		s.merged.add(told, time.Now())
		return nil
	})
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("the dataplane ended its events")
	}
	s.log.Error("no more events", "error", err)
	err = fmt.Errorf("reading events from the dataplane: %w", err)
	s.hub.end(err)
	s.merged.hub.end(err)
}

func (s *Server) endStreams(reason error) {
	s.hub.end(reason)
	s.merged.hub.end(reason)
	s.drops.hub.end(reason)
}

// handle turns what a handler returns into an answer: nil, nil is 204.
func (s *Server) handle(answer func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := answer(w, r)
		switch {
		case err != nil:
			s.refuse(w, r, err)
		case result == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, result)
		}
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	answer, status := classify(err)
	if answer.Code == CodeInternal {
		s.log.Error("answering a request", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only when the client has left
}

func (s *Server) getStatus(http.ResponseWriter, *http.Request) (any, error) {
	trunks, workers := interfaces(s.options.Dataplane.Trunks()), interfaces(s.options.Dataplane.Workers())
	examine(s.facts, trunks, workers)
	options := s.options.Dataplane.Options()
	status := Status{
		Version:       s.options.Version,
		PID:           os.Getpid(),
		Started:       s.started,
		UptimeSeconds: int(time.Since(s.started) / time.Second),
		Kernel:        s.options.Kernel,
		BPFFS:         s.options.BPFFS,
		Trunks:        trunks,
		Workers:       workers,
		Capacity:      options.Capacity,
		Assigned:      s.options.Dataplane.Assigned(),
		Untagged:      string(options.Untagged),
		Unknown:       options.Unknown,
		GroupLimit:    options.GroupLimit,
		AgeSeconds:    int(options.Age / time.Second),
		Following:     s.options.Following(),
	}
	if status.BPFFS != "" && !s.options.Dataplane.Pinned() {
		status.Problems = append(status.Problems, fmt.Sprintf("the pins in %s have gone: somebody has removed or unmounted them. When this process ends, the demux "+
			"ends with it, and the next knows no location, counter or assignment that is not configured; restart it at a quiet time", status.BPFFS))
	}
	return status, nil
}

func (s *Server) getAssignments(http.ResponseWriter, *http.Request) (any, error) {
	list, err := s.options.Dataplane.Assignments()
	if err != nil {
		return nil, fmt.Errorf("reading the assignments: %w", err)
	}
	return assignments{Assignments: assignmentList(s.options.Names, s.options.Dataplane.Workers(), list)}, nil
}

func (s *Server) putAssignment(w http.ResponseWriter, r *http.Request) (any, error) {
	// The body first: a client that is still sending it when the answer comes
	// and the connection goes would never read why.
	var request assignRequest
	if err := s.decode(w, r, 1, &request); err != nil {
		return nil, err
	}
	mac, err := pathMAC(r)
	if err != nil {
		return nil, err
	}
	return nil, s.assign([]demux.Assignment{{MAC: mac, Worker: request.Worker, Places: request.Places, Force: request.Force}}, request.Reassign)
}

// deleteInterface detaches a trunk, or a worker with its clients.
func (s *Server) deleteInterface(_ http.ResponseWriter, r *http.Request) (any, error) {
	name := r.PathValue("name")
	for _, trunk := range s.options.Dataplane.Trunks() {
		if trunk.Name == name {
			return nil, s.options.Dataplane.DetachTrunk(name)
		}
	}
	return nil, s.options.Dataplane.DetachWorker(name)
}

func (s *Server) deleteAssignment(_ http.ResponseWriter, r *http.Request) (any, error) {
	mac, err := pathMAC(r)
	if err != nil {
		return nil, err
	}
	return nil, s.options.Dataplane.UnassignAll([]demux.MAC{mac})
}

func (s *Server) noRoute(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, fmt.Errorf("%w: no %s %s here; there are %s", ErrBadRequest, r.Method, r.URL.Path,
		strings.Join(slices.Sorted(maps.Keys(s.routes())), ", "))
}

// pathMAC returns the valid individual address in the request's path.
func pathMAC(r *http.Request) (demux.MAC, error) {
	mac, err := demux.ParseMAC(r.PathValue("mac"))
	if err != nil {
		return demux.MAC{}, err
	}
	return mac, mac.Validate()
}

func strictDecoder(from io.Reader) *json.Decoder {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	return decoder
}

// body reads a request's, each piece of which has to come in time.
type body struct {
	io.Reader
	connection *http.ResponseController
}

func (b body) Read(p []byte) (int, error) {
	if err := b.connection.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

// decode reads one JSON object about that many assignments, with no unknown field and nothing after it.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, assignments int, into any) error {
	connection := http.NewResponseController(w)
	capacity := s.options.Dataplane.Options().Capacity
	limit := int64(assignments*assignmentOctets + demux.MaxPlaces(capacity)*placeOctets)
	decoder := strictDecoder(body{http.MaxBytesReader(w, r.Body, limit), connection})
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); more == nil {
			err = errors.New("more than one JSON value")
		} else if !errors.Is(more, io.EOF) {
			err = more
		}
	}
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return fmt.Errorf("%w: the body has more than %d octets, and %d assignments with all places that a capacity of %d has take no more: send fewer, or run with a larger --capacity",
			ErrBadRequest, limit, assignments, capacity)
	}
	if err != nil {
		return fmt.Errorf("%w: decoding the body: %w", ErrBadRequest, err)
	}
	// The time that is left must not end the request, however long that takes.
	return connection.SetReadDeadline(time.Time{})
}
