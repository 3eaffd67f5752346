package control_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func TestCountersAreTheJSONOfTheirTypeAClientALine(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(8)
	socket, _ := serve(t, plane)
	g.Expect(plane.AssignAll([]demux.Assignment{given(macA, "w0"), given(macB, "w\"\\<é\x01"), given(macC, "w<"), given(macD, "w0")})).To(Succeed())
	for _, mac := range []string{macB, macC} {
		plane.see(parse(mac), demux.Location{Trunk: 2, Protocol: 0x88a8, TCI: 0xb00c})
	}
	plane.see(parse(macA), demux.Location{Trunk: 2, Protocol: 0x8100, TCI: 1})
	status, text := raw(t, socket, "GET", "/v1/counters", "")
	g.Expect(status).To(Equal(200))
	g.Expect(strings.Count(text, "\n")).To(Equal(5), text)

	client := dial(t, socket)
	read, err := client.Counters(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	var want control.Counters
	g.Expect(json.Unmarshal([]byte(text), &want)).To(Succeed())
	g.Expect(read).To(Equal(want))
	g.Expect(want.Clients[1].Worker).To(Equal("w\"\\<é\x01"))
	g.Expect(want.Clients[1].Location).To(HaveValue(gstruct.MatchFields(gstruct.IgnoreExtras, gstruct.Fields{"VID": BeEquivalentTo(12), "PCP": BeEquivalentTo(5), "DEI": BeTrue()})))
	same, err := json.Marshal(want)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.ReplaceAll(text, "\n", "")).To(Equal(string(same)))
}

func TestCountersOfAnotherServerAreRead(t *testing.T) {
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(8))
	mine := dial(t, socket)
	g.Expect(mine.Assign(t.Context(), macA, "w0")).To(Succeed())
	want, err := mine.Counters(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	_, text := raw(t, socket, "GET", "/v1/counters", "")
	afterALine, _, _ := strings.Cut(text, "]")
	indented, err := json.MarshalIndent(want, "", "\t")
	g.Expect(err).NotTo(HaveOccurred())
	row := `{"mac":"02:00:00:00:00:0a","worker":"w0",`
	for name, c := range map[string]struct {
		body           string
		wrong, swapped bool
	}{
		"indented":                 {body: string(indented)},
		"lines in another order":   {body: strings.Replace(text, row, `{"worker":"w0","mac":"02-00-00-00-00-0A",`, 1)},
		"tx before rx":             {body: strings.NewReplacer(`"rx":`, `"tx":`, `"tx":`, `"rx":`).Replace(text), swapped: true},
		"a member more":            {body: strings.Replace(text, row, row+`"uptime":5,`, 1)},
		"a member more at the end": {body: strings.Replace(text, "}}\n]", `},"uptime":5}`+"\n]", 1)},
		"a number too large":       {body: strings.Replace(text, "18446744073709551615", "18446744073709551616", 1), wrong: true},
		"a MAC too short":          {body: strings.Replace(text, row, `{"mac":"02:00","worker":"w0",`, 1), wrong: true},
		"cut in a line":            {body: text[:60], wrong: true},
		"cut after a line":         {body: afterALine, wrong: true},
	} {
		g.Expect(c.body == text).To(BeFalse(), name)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.body) }))
		client := control.NewClient(http.DefaultTransport, server.URL)
		read, err := client.Counters(t.Context())
		if c.wrong {
			g.Expect(err).To(HaveOccurred(), name)
		} else {
			g.Expect(err).NotTo(HaveOccurred(), name)
			if c.swapped {
				read.Clients[0].Rx, read.Clients[0].Tx = read.Clients[0].Tx, read.Clients[0].Rx
			}
			g.Expect(read).To(Equal(want), name)
		}
		server.Close()
	}
}
