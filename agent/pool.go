package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast/holdfast/container"
)

// pool keeps sandboxes parked, their network prepared, so that a start finds one ready. It holds more while starts
// come fast and fewer when they are rare.
type pool struct {
	runtime container.Runtime
	network Network
	log     *slog.Logger
	min     int
	max     int

	mu     sync.Mutex
	parked []container.Sandbox
	taken  []time.Time // recent takes, oldest first
	wake   chan struct{}
}

func newPool(runtime container.Runtime, network Network, log *slog.Logger, minimum, maximum int) *pool {
	return &pool{runtime: runtime, network: network, log: log, min: minimum, max: maximum, wake: make(chan struct{}, 1)}
}

// adopt takes over sandboxes that an earlier agent parked.
func (p *pool) adopt(sandboxes []container.Sandbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parked = append(p.parked, sandboxes...)
}

// take returns a sandbox with opt whose network, if it has one of its own, is prepared.
func (p *pool) take(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	if opt == (container.ParkOptions{}) {
		if sandbox, ok := p.pop(); ok {
			return sandbox, nil
		}
	}
	return p.park(ctx, opt)
}

func (p *pool) pop() (container.Sandbox, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.signal()
	p.taken = append(p.taken, time.Now())
	if len(p.parked) == 0 {
		return container.Sandbox{}, false
	}
	sandbox := p.parked[0]
	p.parked = p.parked[1:]
	return sandbox, true
}

func (p *pool) park(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	sandbox, err := p.runtime.Park(ctx, opt)
	if err != nil {
		return container.Sandbox{}, fmt.Errorf("park sandbox: %w", err)
	}
	if opt.HostNet || opt.NetOf != "" {
		return sandbox, nil
	}
	if err := p.network.Prepare(ctx, sandbox.ID, sandbox.NetNS); err != nil {
		p.discard(sandbox.ID)
		return container.Sandbox{}, fmt.Errorf("prepare network: %w", err)
	}
	return sandbox, nil
}

// discard removes a sandbox that will not be used.
func (p *pool) discard(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.network.Release(ctx, id); err != nil {
		p.log.Warn("release network of sandbox", "sandbox", id, "err", err)
	}
	if err := p.runtime.Remove(ctx, id); err != nil {
		p.log.Warn("remove sandbox", "sandbox", id, "err", err)
	}
}

func (p *pool) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run keeps the pool filled until ctx ends.
func (p *pool) run(ctx context.Context) error {
	retry := time.Duration(0)
	for ctx.Err() == nil {
		if !p.wants() {
			if spare, ok := p.spare(); ok {
				p.discard(spare.ID)
			} else {
				p.rest(ctx)
			}
			continue
		}
		sandbox, err := p.park(ctx, container.ParkOptions{})
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			p.log.Warn("fill pool", "err", err)
			retry = min(max(2*retry, 100*time.Millisecond), 10*time.Second)
			sleep(ctx, retry)
			continue
		}
		retry = 0
		p.adopt([]container.Sandbox{sandbox})
	}
	return context.Cause(ctx)
}

// demandWindow is how far back takes count towards the size of the pool.
const demandWindow = 10 * time.Second

// wants reports whether one more sandbox should be parked.
func (p *pool) wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.parked) < p.sizeLocked()
}

// sizeLocked is how many sandboxes should be parked now.
func (p *pool) sizeLocked() int {
	for len(p.taken) > 0 && time.Since(p.taken[0]) > demandWindow {
		p.taken = p.taken[1:]
	}
	return min(max(p.min, len(p.taken)), p.max)
}

// spare takes a sandbox out that is no longer expected to be needed, once starts have become rare.
func (p *pool) spare() (container.Sandbox, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.parked) - 1
	if len(p.parked) <= p.sizeLocked() || len(p.taken) > 0 {
		return container.Sandbox{}, false
	}
	spare := p.parked[last]
	p.parked = p.parked[:last]
	return spare, true
}

// rest waits until something was taken, or until what was taken counts no more.
func (p *pool) rest(ctx context.Context) {
	p.mu.Lock()
	many := len(p.parked) > p.min
	p.mu.Unlock()
	var over <-chan time.Time
	if many {
		timer := time.NewTimer(demandWindow)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-p.wake:
	case <-over:
	}
}
