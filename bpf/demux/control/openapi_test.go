package control_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// described loads openapi.yaml.
func described(t *testing.T) *openapi3.T {
	t.Helper()
	g := NewWithT(t)
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(doc.Validate(t.Context())).To(Succeed())
	return doc
}

func TestOpenAPIDescribesEveryRouteAndCode(t *testing.T) {
	g := NewWithT(t)
	doc := described(t)
	var operations []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			operations = append(operations, method+" "+path)
		}
	}
	g.Expect(operations).To(ConsistOf(control.Routes()))
	var codes []string
	for _, code := range doc.Components.Schemas["Error"].Value.Properties["code"].Value.Enum {
		codes = append(codes, code.(string))
	}
	g.Expect(codes).To(ConsistOf(control.Codes()))
}

func TestOpenAPIDescribesWhatTheServerAnswers(t *testing.T) {
	const (
		one  = "/v1/assignments/02:00:00:00:00:01"
		bulk = `{"assignments":[{"mac":"02:00:00:00:00:01","worker":"w9"},{"mac":"02:00:00:00:00:03","worker":"w0"}]}`
	)
	g := NewWithT(t)
	router, err := legacy.NewRouter(described(t))
	g.Expect(err).NotTo(HaveOccurred())
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	covered := make(map[string]bool)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", one, `{"worker":"w0"}`, 204},
		{"PUT", one, `{"worker":"w9","reassign":true,"force":true}`, 204},
		{"PUT", one, `{"worker":"w9"}`, 409},
		{"PUT", "/v1/assignments/02:00:00:00:00:02", `{"worker":"w7"}`, 404},
		{"GET", "/v1/status", "", 200},
		{"GET", "/v1/assignments", "", 200},
		{"POST", "/v1/assignments", `{"assignments":[{"mac":"02:00:00:00:00:02","worker":"w0"}]}`, 204},
		{"POST", "/v1/assignments", `{"assignments":[{"mac":"02:00:00:00:00:02","worker":"w0"}]}`, 409},
		{"PUT", "/v1/assignments?prune=true&dry_run=true", bulk, 200},
		{"PUT", "/v1/assignments?prune=true", bulk, 200},
		{"PUT", "/v1/assignments", `{"assignments":[{"mac":"02:00","worker":"w0"}]}`, 400},
		{"GET", "/v1/counters", "", 200},
		{"GET", "/v1/openapi.yaml", "", 200},
		{"GET", "/metrics", "", 200},
		{"DELETE", one, "", 204},
		{"DELETE", one, "", 404},
		{"DELETE", "/v1/interfaces/w0", "", 204},
		{"DELETE", "/v1/interfaces/w3", "", 404},
	} {
		if c.path == "/v1/counters" {
			plane.see(demux.MAC{2, 0, 0, 0, 0, 1}, demux.Location{Trunk: 2, Protocol: 0x8100, TCI: 12})
		}
		status, header, text := exchange(t, socket, c.method, c.path, c.body)
		name := c.method + " " + c.path
		g.Expect(status).To(Equal(c.status), "%s: %s", name, text)
		request, err := http.NewRequestWithContext(t.Context(), c.method, "http://vlandemux"+c.path, strings.NewReader(c.body))
		g.Expect(err).NotTo(HaveOccurred())
		request.Header.Set("Content-Type", "application/json")
		route, params, err := router.FindRoute(request)
		g.Expect(err).NotTo(HaveOccurred(), name)
		covered[c.method+" "+route.Path] = true
		input := &openapi3filter.RequestValidationInput{Request: request, PathParams: params, Route: route}
		if c.status < 400 {
			g.Expect(openapi3filter.ValidateRequest(t.Context(), input)).To(Succeed(), name)
		}
		g.Expect(openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: status, Header: header,
			Body: io.NopCloser(bytes.NewReader(text)), Options: &openapi3filter.Options{IncludeResponseStatus: true},
		})).To(Succeed(), "%s: %s", name, text)
	}
	covered["GET /v1/events"], covered["GET /v1/drops"] = true, true // no end: see below
	g.Expect(covered).To(HaveLen(len(control.Routes())))
}

// The lines of what has no end are what the description says.
func TestOpenAPIDescribesTheLinesOfStreams(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	schemas := described(t).Components.Schemas
	for path, c := range map[string]struct {
		schema string
		tell   func()
	}{
		"/v1/events":            {"Event", func() { plane.events <- moved(1) }},
		"/v1/events?merge=true": {"Event", func() { plane.events <- moved(1); plane.events <- moved(1); plane.events <- moved(1) }},
		"/v1/drops":             {"Drop", func() { plane.drops <- dropped(1) }},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x"+path, nil)
		g.Expect(err).NotTo(HaveOccurred())
		response, err := through(socket).Do(request)
		g.Expect(err).NotTo(HaveOccurred())
		lines := json.NewDecoder(response.Body)
		var ready map[string]any
		g.Expect(lines.Decode(&ready)).To(Succeed())
		g.Expect(ready).To(Equal(map[string]any{"type": "ready"}))
		go c.tell()
		for range map[bool]int{false: 1, true: 2}[strings.Contains(path, "merge")] {
			var line any
			g.Expect(lines.Decode(&line)).To(Succeed())
			g.Expect(schemas[c.schema].Value.VisitJSON(line)).To(Succeed(), "%s: %v", path, line)
		}
		g.Expect(response.Body.Close()).To(Succeed())
	}
	status, _, text := exchange(t, socket, "GET", "/v1/events?merge=perhaps", "")
	g.Expect(status).To(Equal(400), string(text))
}

// exchange is raw with the answer's header.
func exchange(t *testing.T, socket, method, path, body string) (int, http.Header, []byte) {
	t.Helper()
	g := NewWithT(t)
	request, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	g.Expect(err).NotTo(HaveOccurred())
	response, err := through(socket).Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	return response.StatusCode, response.Header, text
}

func TestTheDescriptionIsServed(t *testing.T) {
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(1))
	file, err := os.ReadFile("openapi.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	_, _, text := exchange(t, socket, "GET", "/v1/openapi.yaml", "")
	g.Expect(text).To(Equal(file))
}

func TestMetrics(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(8)
	socket, _ := serve(t, plane)
	g.Expect(dial(t, socket).Assign(t.Context(), "02:00:00:00:00:01", "w0")).To(Succeed())
	_, _, text := exchange(t, socket, "GET", "/metrics", "")
	for _, line := range []string{
		`vlandemux_client_packets_total{direction="rx",mac="02:00:00:00:00:01",worker="w0"} 1`,
		`vlandemux_client_bytes_total{direction="rx",mac="02:00:00:00:00:01",worker="w0"} 64`,
		`vlandemux_flooded_packets_total{worker="w0"} 3`,
		`vlandemux_flooded_bytes_total{worker="w0"} 192`,
		`vlandemux_dropped_packets_total{reason="` + demux.DropReason(0).String() + `"} 7`,
		`vlandemux_passed_bytes_total 300`,
		`vlandemux_unknown_bytes_total{to="worker"} 360`,
		`vlandemux_events_lost_total 2`,
		`vlandemux_interface_up{interface="eth1",role="trunk"} 1`,
		`vlandemux_interface_up{interface="w1",role="worker"} 0`,
		`vlandemux_assignments 1`,
		`vlandemux_capacity 8`,
		`vlandemux_info{kernel="6.1.0",version="v1"} 1`,
		`process_start_time_seconds `,
		`go_build_info{`,
	} {
		g.Expect("\n" + string(text)).To(ContainSubstring("\n" + line))
	}
	plane.fail(errors.New("map lookup: EPERM"))
	status, _, text := exchange(t, socket, "GET", "/metrics", "")
	g.Expect(status).To(Equal(500))
	g.Expect(string(text)).To(ContainSubstring("EPERM"))
}
