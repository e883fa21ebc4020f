//go:build linux

package supervisor

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast/holdfast/container/linux"
)

// reapEvery bounds how long a zombie stays whose signal was lost in another's.
const reapEvery = 5 * time.Second

// reap waits for orphans that this process got as the reaper of all below it, until ctx ends.
func (s *server) reap(ctx context.Context, rt *linux.Runtime) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	ticker := time.NewTicker(reapEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-died:
		case <-ticker.C:
		}
		rt.ReapOrphans()
	}
}
