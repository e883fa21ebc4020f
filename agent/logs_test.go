package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast/holdfast"
)

// TestFollowedLogWaitsForItsReplica: who follows the log of a replica that was decided on this instant, before the agent
// has begun with it, is not told that it ended.
func TestFollowedLogWaitsForItsReplica(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.stop()
		l.deploy("web-1")
		a := l.newAgent()
		ended := make(chan error, 1)
		go func() {
			var failed error
			for _, err := range a.Logs(l.t.Context(), "web-1", time.Time{}, -1, true) {
				failed = err
			}
			ended <- failed
		}()
		synctest.Wait()
		l.run(a)
		select {
		case err := <-ended:
			l.t.Fatalf("the log ended before the replica: %v", err)
		default:
		}
		l.change("web-1", func(r *holdfast.Replica) { r.Desired, r.StopWhy = holdfast.Stop, "scaled in" })
		l.wantStatus("web-1", holdfast.Stopped, false, "scaled in")
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for range a.Logs(l.t.Context(), "web-1", time.Time{}, -1, true) {
			t.Fatal("a log of nothing has a line")
		}
	})
}
