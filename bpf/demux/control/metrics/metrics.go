// Package metrics tells Prometheus what a dataplane counts. It stands apart from package control since Prometheus' library is larger than
// the rest of a program that only asks a dataplane.
package metrics

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// collector gives Prometheus what [control.Counters] and [control.Status] hold, read anew for each scrape. Packets and bytes
// are those of [demux.Tally].
type collector struct{ plane control.Dataplane }

// Describe says nothing: [collector.Collect] alone knows what there is.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the dataplane. When that fails the scrape does.
func (c collector) Collect(to chan<- prometheus.Metric) {
	counted, err := c.plane.Counters()
	if err != nil {
		to <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	metric := func(kind prometheus.ValueType, name, help string, labels ...string) func(n uint64, values ...string) {
		desc := prometheus.NewDesc("vlandemux_"+name, help, labels, nil)
		return func(n uint64, values ...string) {
			to <- prometheus.MustNewConstMetric(desc, kind, float64(n), values...)
		}
	}
	tally := func(name, packetsHelp, bytesHelp string, labels ...string) func(t demux.Tally, values ...string) {
		packets := metric(prometheus.CounterValue, name+"_packets_total", packetsHelp, labels...)
		bytes := metric(prometheus.CounterValue, name+"_bytes_total", bytesHelp, labels...)
		return func(t demux.Tally, values ...string) {
			packets(t.Packets, values...)
			bytes(t.Bytes, values...)
		}
	}
	clients := tally("client", "Wire frames since the client was assigned; rx is from the client.",
		"Octets on the trunk, all tags included, without FCS; rx is from the client.", "mac", "worker", "direction")
	for _, client := range counted.Clients {
		mac := client.MAC.String()
		clients(client.Rx, mac, client.Worker, "rx")
		clients(client.Tx, mac, client.Worker, "tx")
	}
	flooded := tally("flooded", "Copies of the worker's group frames that left on trunks.", "Octets of these copies on the trunk.", "worker")
	for _, worker := range counted.Workers {
		flooded(worker.Flooded, worker.Worker)
	}
	dropped := tally("dropped", "Frames dropped.", "Octets of the frames dropped.", "reason")
	for _, drop := range counted.Drops {
		dropped(drop.Tally, drop.Reason.String())
	}
	tally("passed", "Frames left to the host's own stack.", "Octets of the frames left to the host's own stack.")(counted.Passed)
	unknown := tally("unknown", "Tagged frames of MACs without a worker that were not dropped.", "Octets of these frames.", "to")
	unknown(counted.UnknownPassed, "stack")
	unknown(counted.UnknownForwarded, "worker")
	metric(prometheus.CounterValue, "events_lost_total", "Learned and moved events that found the ring buffer full.")(counted.EventsLost)
	metric(prometheus.CounterValue, "places_lost_total", "Times the kernel had no memory to note where a client is.")(counted.PlacesLost)
	up := metric(prometheus.GaugeValue, "interface_up", "1 if the trunk or worker is there and up, else 0.", "interface", "role")
	for role, list := range map[string][]demux.Attachment{"trunk": c.plane.Trunks(), "worker": c.plane.Workers()} {
		for _, a := range list {
			up(map[string]uint64{control.StateUp: 1}[control.State(a)], a.Name, role)
		}
	}
	metric(prometheus.GaugeValue, "assignments", "MACs that have a worker.")(uint64(len(counted.Clients)))
	metric(prometheus.GaugeValue, "capacity", "MACs that can have a worker at once.")(uint64(c.plane.Options().Capacity))
}

// Handler answers scrapes, on whatever path: the dataplane's metrics, the process's, and what was built. It is for
// [control.ServerOptions.Metrics], and needs the other options, all of them.
func Handler(options control.ServerOptions) http.Handler {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vlandemux_info", Help: "1, with the program's version and the kernel's.",
		ConstLabels: prometheus.Labels{"version": options.Version, "kernel": options.Kernel},
	})
	info.Set(1)
	overflows := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "vlandemux_link_overflows_total", Help: "Times the kernel's messages about interfaces overflowed and all were looked at again.",
	}, func() float64 { return float64(options.Following().Overflows) })
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{options.Dataplane}, info, overflows, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(options.Log.Handler(), slog.LevelWarn)})
}
