package plan

import (
	"math/rand/v2"
	"time"

	"github.com/holdfast/holdfast/store"
)

// Preview returns the actions that a request decided on, followed by those that the leader would take at once if they
// were applied: which replicas start and stop first, and where. What comes after that depends on how the replicas fare.
func Preview(snap *store.Snapshot, request []Action, now time.Time, random *rand.Rand) ([]Action, error) {
	if !Changes(request) {
		return request, nil
	}
	after, err := snap.Try(now, func(tx *store.Tx) error {
		Apply(tx, request)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := append([]Action(nil), request...)
	following, _ := Plan(after, now, random)
	for _, a := range following {
		if !a.Quiet {
			out = append(out, a)
		}
	}
	return out, nil
}
