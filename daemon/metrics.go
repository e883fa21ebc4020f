package daemon

import (
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsHandler answers with the agent's own metrics and then the gateway's, as one Prometheus text.
func metricsHandler(own prometheus.Gatherer, gateway *http.Client) http.Handler {
	mine := promhttp.HandlerFor(own, promhttp.HandlerOpts{DisableCompression: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Set("Accept", "text/plain")
		mine.ServeHTTP(w, r)
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://gateway/metrics", nil)
		if err != nil {
			return
		}
		req.Header.Set("Accept", "text/plain")
		resp, err := gateway.Do(req)
		if err != nil {
			return // no gateway, no figures of it
		}
		defer resp.Body.Close()
		io.Copy(w, resp.Body) //nolint:errcheck // the reader is gone
	})
}
