package control

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// collector gives Prometheus what [Counters] and [Status] hold, read anew for each scrape. Packets and bytes
// are those of [Tally].
type collector struct {
	plane                              Dataplane
	clientPackets, clientBytes         *prometheus.Desc
	floodedPackets, floodedBytes       *prometheus.Desc
	droppedPackets, droppedBytes       *prometheus.Desc
	passedPackets, passedBytes         *prometheus.Desc
	unknownPackets, unknownBytes       *prometheus.Desc
	eventsLost, placesLost             *prometheus.Desc
	interfaceUp, assignments, capacity *prometheus.Desc
}

var _ prometheus.Collector = (*collector)(nil)

func newCollector(plane Dataplane) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("vlandemux_"+name, help, labels, nil)
	}
	return &collector{
		plane:          plane,
		clientPackets:  desc("client_packets_total", "Wire frames since the client was assigned; rx is from the client.", "mac", "worker", "direction"),
		clientBytes:    desc("client_bytes_total", "Octets on the trunk, all tags included, without FCS; rx is from the client.", "mac", "worker", "direction"),
		floodedPackets: desc("flooded_packets_total", "Copies of the worker's group frames that left on trunks.", "worker"),
		floodedBytes:   desc("flooded_bytes_total", "Octets of these copies on the trunk.", "worker"),
		droppedPackets: desc("dropped_packets_total", "Frames dropped.", "reason"),
		droppedBytes:   desc("dropped_bytes_total", "Octets of the frames dropped.", "reason"),
		passedPackets:  desc("passed_packets_total", "Frames left to the host's own stack."),
		passedBytes:    desc("passed_bytes_total", "Octets of the frames left to the host's own stack."),
		unknownPackets: desc("unknown_packets_total", "Tagged frames of MACs without a worker that were not dropped.", "to"),
		unknownBytes:   desc("unknown_bytes_total", "Octets of these frames.", "to"),
		eventsLost:     desc("events_lost_total", "Learned and moved events that found the ring buffer full."),
		placesLost:     desc("places_lost_total", "Times the kernel had no memory to note where a client is."),
		interfaceUp:    desc("interface_up", "1 if the trunk or worker is there and up, else 0.", "interface", "role"),
		assignments:    desc("assignments", "MACs that have a worker."),
		capacity:       desc("capacity", "MACs that can have a worker at once."),
	}
}

// Describe sends every description.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.clientPackets, c.clientBytes, c.floodedPackets, c.floodedBytes, c.droppedPackets, c.droppedBytes, c.passedPackets, c.passedBytes,
		c.unknownPackets, c.unknownBytes,
		c.eventsLost, c.placesLost, c.interfaceUp, c.assignments, c.capacity,
	} {
		to <- d
	}
}

// Collect reads the dataplane. When that fails the scrape does.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	counted, err := c.plane.Counters()
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.clientPackets, err)
		return
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for _, client := range counted.Clients {
		mac := client.MAC.String()
		count(c.clientPackets, client.Rx.Packets, mac, client.Worker, "rx")
		count(c.clientBytes, client.Rx.Bytes, mac, client.Worker, "rx")
		count(c.clientPackets, client.Tx.Packets, mac, client.Worker, "tx")
		count(c.clientBytes, client.Tx.Bytes, mac, client.Worker, "tx")
	}
	for _, worker := range counted.Workers {
		count(c.floodedPackets, worker.Flooded.Packets, worker.Worker)
		count(c.floodedBytes, worker.Flooded.Bytes, worker.Worker)
	}
	for _, drop := range counted.Drops {
		count(c.droppedPackets, drop.Packets, drop.Reason.String())
		count(c.droppedBytes, drop.Bytes, drop.Reason.String())
	}
	for to, unknown := range map[string]demux.Tally{"stack": counted.UnknownPassed, "worker": counted.UnknownForwarded} {
		count(c.unknownPackets, unknown.Packets, to)
		count(c.unknownBytes, unknown.Bytes, to)
	}
	count(c.passedPackets, counted.Passed.Packets)
	count(c.passedBytes, counted.Passed.Bytes)
	count(c.eventsLost, counted.EventsLost)
	count(c.placesLost, counted.PlacesLost)
	for role, list := range map[string][]Interface{"trunk": interfaces(c.plane.Trunks()), "worker": interfaces(c.plane.Workers())} {
		for _, i := range list {
			up := 0
			if i.State == StateUp {
				up = 1
			}
			gauge(c.interfaceUp, up, i.Name, role)
		}
	}
	gauge(c.assignments, len(counted.Clients))
	gauge(c.capacity, c.plane.Capacity())
}

// newMetrics answers GET /metrics: the dataplane's metrics, the process's, and what was built.
func newMetrics(options ServerOptions, log *slog.Logger) http.Handler {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vlandemux_info", Help: "1, with the program's version and the kernel's.",
		ConstLabels: prometheus.Labels{"version": options.Version, "kernel": options.Kernel},
	})
	info.Set(1)
	overflows := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "vlandemux_link_overflows_total", Help: "Times the kernel's messages about interfaces overflowed and all were looked at again.",
	}, func() float64 { return float64(options.Following().Overflows) })
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(options.Dataplane), info, overflows, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)})
}

// Metrics answers scrapes of Prometheus, on whatever path.
func (s *Server) Metrics() http.Handler { return s.metrics }
