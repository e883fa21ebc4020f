package netlab

import (
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Listen takes a TCP address on the node, as another program would; it is let go when the test ends at the latest.
func (n *Node) Listen(addr string) net.Listener {
	n.T.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in the other namespace
		if err := netns.Set(n.ns); err != nil {
			done <- result{err: err}
			return
		}
		l, err := net.Listen("tcp4", addr)
		done <- result{l, err}
	}()
	r := <-done
	if r.err != nil {
		n.T.Fatalf("listen on %s: %v", n.Name, r.err)
	}
	n.T.Cleanup(func() { r.l.Close() })
	return r.l
}
