package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/archive"
	"github.com/holdfast/holdfast/container/logs"
)

// Exec runs another process in the replica's container.
func (a *Agent) Exec(ctx context.Context, replica string, spec container.ExecSpec) (container.Exec, error) {
	if _, err := a.live(replica); err != nil {
		return nil, err
	}
	return a.runtime.Exec(ctx, replica, spec)
}

// Attach connects to the standard streams of the replica's own process.
func (a *Agent) Attach(ctx context.Context, replica string) (container.Exec, error) {
	if _, err := a.live(replica); err != nil {
		return nil, err
	}
	return a.runtime.Attach(ctx, replica)
}

// Signal sends sig to the replica's first process.
func (a *Agent) Signal(ctx context.Context, replica string, sig syscall.Signal) error {
	if _, err := a.live(replica); err != nil {
		return err
	}
	return a.runtime.Signal(ctx, replica, sig)
}

// Stats reads the replica's use of resources now.
func (a *Agent) Stats(ctx context.Context, replica string) (container.Stats, error) {
	if _, err := a.live(replica); err != nil {
		return container.Stats{}, err
	}
	return a.runtime.Stats(ctx, replica)
}

// Dial connects to a TCP port inside the replica.
func (a *Agent) Dial(ctx context.Context, replica string, port uint16) (net.Conn, error) {
	t, err := a.live(replica)
	if err != nil {
		return nil, err
	}
	addr := t.address()
	if !addr.IsValid() {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "replica %s has no network", replica)
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "connect to port %d of %s: %w", port, replica, cause(err))
	}
	return conn, nil
}

// Logs yields what the replica wrote, also after it ended for as long as its record is kept; with follow it goes on
// until the replica ended.
func (a *Agent) Logs(ctx context.Context, replica string, since time.Time, tail int, follow bool) iter.Seq2[logs.Entry, error] {
	opt := logs.Options{Since: since, Tail: tail}
	return func(yield func(logs.Entry, error) bool) {
		err := a.known(replica)
		if err == nil && follow {
			opt.Ended, err = a.endOf(ctx, replica)
		}
		if err != nil {
			yield(logs.Entry{}, err)
			return
		}
		for e, err := range logs.Read(ctx, a.logPath(replica), opt) {
			if errors.Is(err, fs.ErrNotExist) {
				return // nothing was written yet
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// endOf returns what is closed when the replica's task is done; nil when it has ended. A replica whose record is new gets
// its task at any moment: that is waited for.
func (a *Agent) endOf(ctx context.Context, replica string) (<-chan struct{}, error) {
	for {
		snap := a.store.Snapshot()
		if t := a.task(replica); t != nil {
			return t.done, nil
		}
		st, reported := snap.Statuses.Get(replica)
		if _, wanted := snap.Replicas.Get(replica); !wanted || reported && st.State.Ended() {
			return nil, nil
		}
		if _, err := a.store.Wait(ctx, snap.Revision); err != nil {
			return nil, err
		}
	}
}

func (a *Agent) known(replica string) error {
	r, ok := a.store.Snapshot().Replicas.Get(replica)
	if !ok {
		return holdfast.Errorf(holdfast.ErrNotFound, "no replica %s", replica)
	}
	if r.Node != a.node.ID {
		return holdfast.Errorf(holdfast.ErrUnavailable, "replica %s is on node %s", replica, r.Node)
	}
	return nil
}

// live returns the task of a replica whose container runs here.
func (a *Agent) live(replica string) (*task, error) {
	if err := a.known(replica); err != nil {
		return nil, err
	}
	t := a.task(replica)
	if t == nil || closed(t.done) {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "replica %s has no running container", replica)
	}
	return t, nil
}

// process returns the node's PID of the replica's first process and the host id of its id 0.
func (a *Agent) process(ctx context.Context, replica string) (pid int, uids uint32, err error) {
	if _, err := a.live(replica); err != nil {
		return 0, 0, err
	}
	all, err := a.runtime.List(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("list containers: %w", err)
	}
	for _, s := range all {
		if s.ID == replica && s.PID > 0 && s.Phase != container.Exited {
			return s.PID, s.Sandbox.UIDs, nil
		}
	}
	return 0, 0, holdfast.Errorf(holdfast.ErrNotFound, "replica %s has no running container", replica)
}

// CopyFrom writes path (a file, or a directory with all in it) of the replica as a tar to w.
func (a *Agent) CopyFrom(ctx context.Context, replica, path string, w io.Writer) error {
	root, err := a.root(ctx, replica)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Pack(path, w)
}

// CopyTo unpacks the tar r into the directory dir of the replica.
func (a *Agent) CopyTo(ctx context.Context, replica, dir string, r io.Reader) error {
	root, err := a.root(ctx, replica)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Unpack(dir, r)
}

func (a *Agent) root(ctx context.Context, replica string) (*archive.Root, error) {
	pid, ids, err := a.process(ctx, replica)
	if err != nil {
		return nil, err
	}
	return archive.Open(pid, ids)
}
