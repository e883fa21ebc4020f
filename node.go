package holdfast

import (
	"net/netip"
	"time"
)

// Node is a machine that runs an agent.
type Node struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Address  netip.Addr        `json:"address,omitzero"` // where other nodes reach it
	Labels   map[string]string `json:"labels,omitempty"`
	CPUs     float64           `json:"cpus"`
	MemBytes int64             `json:"memBytes"`
	Drained  bool              `json:"drained,omitempty"` // gets no replicas
	Version  string            `json:"version"`
	Gateway  bool              `json:"gateway"` // runs a gateway, whose drain confirmations are waited for
	Started  time.Time         `json:"started"` // of its agent
	Seen     time.Time         `json:"seen"`    // last heartbeat, by the node's own clock
}
