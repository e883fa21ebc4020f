package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/gateway"
)

// problems knows what keeps clients from the node's services: a gateway that cannot run, ports that it cannot have.
type problems struct {
	cfg    Config
	client *http.Client // of the gateway
	log    *slog.Logger

	mu     sync.Mutex
	failed error // why the gateway's process does not run; nil when it does
	told   []api.Problem
}

// portsTimeout bounds how long a gateway that is busy or starting may hold up an answer of the API.
const portsTimeout = 300 * time.Millisecond

// now asks the gateway. One that does not answer, and whose start has not failed, is just being replaced.
func (p *problems) now(ctx context.Context) []api.Problem {
	p.mu.Lock()
	failed := p.failed
	p.mu.Unlock()
	if failed != nil {
		return []api.Problem{gatewayProblem(failed, p.cfg)}
	}
	ctx, cancel := context.WithTimeout(ctx, portsTimeout)
	defer cancel()
	status, err := askPorts(ctx, p.client)
	if err != nil {
		return nil
	}
	return status.problems()
}

// review takes what came of the last try to keep the gateway running, and logs what is new.
func (p *problems) review(ctx context.Context, failed error) {
	p.mu.Lock()
	p.failed = failed
	p.mu.Unlock()
	now := p.now(ctx)
	for _, n := range now {
		if !slices.Contains(p.told, n) {
			p.log.Error(n.What, append([]any{"advice", n.Advice}, about(n)...)...)
		}
	}
	for _, t := range p.told {
		if !slices.Contains(now, t) {
			p.log.Info("no longer: "+t.What, about(t)...)
		}
	}
	p.told = now
}

// about names the service that a problem is of, for the log.
func about(p api.Problem) []any {
	if p.App == "" {
		return nil
	}
	return []any{"app", p.App, "service", p.Service}
}

// taken matches what the net package says of an address that another program has.
var taken = regexp.MustCompile(`listen tcp\S* (\S*:(\d+)): bind: address already in use`)

// gatewayProblem says why the gateway's process does not run.
func gatewayProblem(err error, cfg Config) api.Problem {
	m := taken.FindStringSubmatch(err.Error())
	if m == nil {
		return api.Problem{What: "the gateway does not run: " + err.Error(), Advice: "see " + cfg.gatewayLog()}
	}
	flag, other := "--http", "--http :8080"
	if _, port, err := net.SplitHostPort(cfg.HTTPS); err == nil && port == m[2] {
		flag, other = "--https", "--https :8443"
	}
	return api.Problem{
		What:   fmt.Sprintf("the gateway does not run: %s is taken by another program", m[1]),
		Advice: fmt.Sprintf("ss -ltnp 'sport = :%s' names it; end it, or run the agent with another %s, such as %s", m[2], flag, other),
	}
}

func (cfg Config) gatewayLog() string { return filepath.Join(cfg.DataDir, "gateway.log") }

// gatewayStatus is what the gateway's process tells of its ports.
type gatewayStatus struct {
	Ports    []gateway.PortStatus `json:"ports"`
	Problems []api.Problem        `json:"problems"` // of routes and ports that the table could not have
}

func statusOf(gw *gateway.Gateway) gatewayStatus {
	st := gatewayStatus{Ports: gw.Ports()}
	for _, p := range gw.Table().Problems {
		st.Problems = append(st.Problems, api.Problem{App: p.App, Service: p.Service, What: p.What + ": " + p.Why})
	}
	return st
}

func askPorts(ctx context.Context, client *http.Client) (st gatewayStatus, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/ports", nil)
	if err != nil {
		return st, fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return st, fmt.Errorf("ask gateway: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return st, errors.New("ask gateway: " + resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		return st, fmt.Errorf("ask gateway: %w", err)
	}
	return st, nil
}

// problems are those of a status.
func (st gatewayStatus) problems() []api.Problem {
	out := st.Problems
	for _, p := range st.Ports {
		if p.Error == "" {
			continue
		}
		app, service, _ := strings.Cut(p.Service, "/")
		out = append(out, api.Problem{App: app, Service: service, What: "published port is not open: " + p.Error, Advice: portAdvice(p)})
	}
	return out
}

func portAdvice(p gateway.PortStatus) string {
	protocol, addr, _ := strings.Cut(p.Listen, " ")
	_, port, err := net.SplitHostPort(addr)
	if err != nil || !strings.Contains(p.Error, "is taken") {
		return "publish another port or address in the Compose file"
	}
	flags := "-ltnp"
	if protocol == "udp" {
		flags = "-lunp"
	}
	return fmt.Sprintf("ss %s 'sport = :%s' names the program; end it, or publish another port in the Compose file", flags, port)
}
