package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// collector turns what an upstream.Set measured into Prometheus metrics. It costs the data path nothing.
type collector struct{ set *upstream.Set }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("holdfast_gateway_"+name, help, labels, nil)
}

var (
	replicaLabels = []string{"app", "service", "release", "replica", "port"}
	routeLabels   = []string{"app", "service", "route"}

	descRequests      = desc("requests_total", "Requests answered, by class of status (0: the client was gone).", append(replicaLabels, "class")...)
	descSeconds       = desc("request_seconds", "Time from a request's head to the last byte of its response.", replicaLabels...)
	descInFlight      = desc("in_flight", "Requests, connections and flows in flight to a replica.", "app", "service", "release", "replica")
	descBytesIn       = desc("received_bytes_total", "Bytes of body from clients.", replicaLabels...)
	descBytesOut      = desc("sent_bytes_total", "Bytes of body to clients.", replicaLabels...)
	descRouteRequests = desc("route_requests_total", "Requests that a route took, by class of status.", append(routeLabels, "class")...)
	descRouteSeconds  = desc("route_request_seconds", "Time a route's requests took, waiting for a replica included.", routeLabels...)
	descWaiting       = desc("waiting", "Requests and connections waiting for a ready replica.", "app", "service", "backend")
	descHeld          = desc("held_total", "Requests that had to wait for a ready replica.", "app", "service", "backend")
	descRefused       = desc("refused_total", "Requests that waited in vain or were not let wait.", "app", "service", "backend")
	descRetried       = desc("retried_total", "Requests that were sent to a replica again.", "app", "service", "backend")
	descNoBudget      = desc("retry_budget_exhausted_total", "Requests not sent again for want of budget.", "app", "service", "backend")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRequests, descSeconds, descInFlight, descBytesIn, descBytesOut, descRouteRequests, descRouteSeconds,
		descWaiting, descHeld, descRefused, descRetried, descNoBudget,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.replicas(out)
	view := c.set.View()
	for i, r := range view.Table.Routes {
		labels := []string{r.Backend.App, r.Backend.Service, r.String()}
		traffic(out, descRouteRequests, descRouteSeconds, view.Routes[i].Read(), labels)
	}
	for i, b := range view.Table.Backends {
		live, labels := view.Backends[i], []string{b.App, b.Service, b.Key}
		gauge(out, descWaiting, float64(live.Waiting()), labels...)
		counter(out, descHeld, live.Held.Load(), labels...)
		counter(out, descRefused, live.Refused.Load(), labels...)
		counter(out, descRetried, live.Retried.Load(), labels...)
		counter(out, descNoBudget, live.NoBudget.Load(), labels...)
	}
}

func (c collector) replicas(out chan<- prometheus.Metric) {
	last := ""
	for _, ep := range c.set.Endpoints() {
		release := strconv.Itoa(ep.Release)
		labels := []string{ep.App, ep.Service, release, ep.Replica.ID, strconv.Itoa(int(ep.Addr.Port()))}
		counts := ep.Traffic.Read()
		traffic(out, descRequests, descSeconds, counts, labels)
		counter(out, descBytesIn, counts.In, labels...)
		counter(out, descBytesOut, counts.Out, labels...)
		if ep.Replica.ID != last { // sorted by replica
			last = ep.Replica.ID
			gauge(out, descInFlight, float64(ep.Replica.InFlight()), ep.App, ep.Service, release, last)
		}
	}
}

func traffic(out chan<- prometheus.Metric, requests, seconds *prometheus.Desc, c upstream.Counts, labels []string) {
	for class, n := range c.Classes {
		if n > 0 {
			counter(out, requests, n, append(labels[:len(labels):len(labels)], strconv.Itoa(class))...)
		}
	}
	buckets := make(map[float64]uint64, len(upstream.Bounds))
	var below uint64
	for i, bound := range upstream.Bounds {
		below += c.Buckets[i]
		buckets[bound.Seconds()] = below
	}
	out <- prometheus.MustNewConstHistogram(seconds, c.Requests(), c.Sum.Seconds(), buckets, labels...)
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, n uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}
