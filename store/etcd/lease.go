package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast/holdfast/store"
)

// Grant implements store.KV. etcd counts in seconds and has a shortest ttl of about two.
func (e *Engine) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if err := e.usable(); err != nil {
		return nil, err
	}
	if err := e.disk.check(); err != nil {
		return nil, err
	}
	asked := time.Now()
	resp, err := e.client.Grant(ctx, seconds(ttl.Seconds()))
	if err != nil {
		return nil, kindOf(ctx, err)
	}
	l := &lease{engine: e, id: resp.ID, lost: make(chan struct{}), revoked: make(chan struct{})}
	until := asked.Add(time.Duration(resp.TTL) * time.Second)
	e.spawn(func() { l.keep(ctx, until) })
	return l, nil
}

type lease struct {
	engine  *Engine
	id      clientv3.LeaseID
	lost    chan struct{}
	once    sync.Once
	revoked chan struct{}
}

func (l *lease) ID() int64             { return int64(l.id) }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Revoke implements store.Lease.
func (l *lease) Revoke(ctx context.Context) error {
	l.once.Do(func() { close(l.revoked) })
	_, err := l.engine.client.Revoke(ctx, l.id)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return kindOf(ctx, err)
	}
	return nil
}

// keep renews the lease three times in its life. The life is counted from before each request was sent, so that lost
// closes before the member can give the keys away.
func (l *lease) keep(ctx context.Context, until time.Time) {
	defer close(l.lost)
	life := time.Until(until)
	renew := time.NewTimer(life / 3)
	defer renew.Stop()
	end := time.NewTimer(life)
	defer end.Stop()
	ended := ctx.Done()
	for {
		select {
		case <-renew.C:
			sent := time.Now()
			ttl, err := l.renew(ctx, until)
			switch {
			case errors.Is(err, rpctypes.ErrLeaseNotFound):
				return
			case err == nil:
				until = sent.Add(ttl)
				end.Reset(time.Until(until))
			}
			renew.Reset(life / 3)
		case <-ended:
			ended = nil
			renew.Stop()
		case <-end.C:
			return
		case <-l.revoked:
			return
		case <-l.engine.closing.Done():
			return
		}
	}
}

func (l *lease) renew(ctx context.Context, until time.Time) (time.Duration, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	resp, err := l.engine.client.KeepAliveOnce(ctx, l.id)
	if err != nil {
		return 0, err
	}
	return time.Duration(resp.TTL) * time.Second, nil
}
