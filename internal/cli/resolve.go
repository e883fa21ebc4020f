package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// live reports whether r runs and is meant to.
func isLive(r api.ReplicaView) bool { return r.Desired == holdfast.Run && !r.Status.State.Ended() }

// resolve finds the replica that ref names: an ID, SERVICE.SLOT, or SERVICE for one of its replicas that is ready.
func (a *app) resolve(ctx context.Context, ref string) (api.ReplicaView, error) {
	views, err := a.views(ctx)
	if err != nil {
		return api.ReplicaView{}, err
	}
	found := match(views, ref)
	if len(found) == 0 {
		return api.ReplicaView{}, noReplica(views, ref)
	}
	if apps := appsOf(found); len(apps) > 1 {
		return api.ReplicaView{}, usage("%s is a service of several apps: name one with --app: %s", ref, strings.Join(apps, ", "))
	}
	best := found[0]
	for _, r := range found[1:] {
		if n, most := rank(r), rank(best); n > most || n == most && r.Created.After(best.Created) {
			best = r
		}
	}
	if !isLive(best) && best.ID != ref {
		return best, holdfast.Errorf(holdfast.ErrUnavailable, "%s has no running replica (%s is %s): see holdfast ps -a", ref, best.ID, stateOf(best))
	}
	return best, nil
}

// appsOf lists the apps of replicas, sorted.
func appsOf(replicas []api.ReplicaView) []string {
	apps := map[string]bool{}
	for _, r := range replicas {
		apps[r.App] = true
	}
	return sortedKeys(apps)
}

// rank orders the replicas that a name stands for: ready ones first, newer ones before older.
func rank(r api.ReplicaView) int {
	n := r.Release
	if isLive(r) {
		n += 1 << 30
	}
	if r.Status.Ready {
		n += 1 << 31
	}
	return n
}

// match returns the replicas that ref may mean.
func match(views []api.AppView, ref string) (found []api.ReplicaView) {
	service, slot, dotted := cutSlot(ref)
	for _, v := range views {
		for _, s := range v.Services {
			for _, r := range s.Replicas {
				if r.ID == ref {
					return []api.ReplicaView{r}
				}
				if s.Name == ref || dotted && s.Name == service && r.Slot == slot {
					found = append(found, r)
				}
			}
		}
	}
	return found
}

// noReplica is the error for a name that means no replica.
func noReplica(views []api.AppView, ref string) error {
	var services, slots []string
	for _, v := range views {
		for _, s := range v.Services {
			if s.Name == ref {
				return holdfast.Errorf(holdfast.ErrUnavailable, "service %s has no replica: see holdfast ps", ref)
			}
			services = append(services, s.Name)
			for _, r := range s.Replicas {
				slots = append(slots, logName(s.Name, r.Slot))
			}
		}
	}
	return checkName("service or replica", ref, services, slots...)
}

// cutSlot splits "web.2".
func cutSlot(ref string) (service string, slot int, ok bool) {
	i := strings.LastIndexByte(ref, '.')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.Atoi(ref[i+1:])
	return ref[:i], n, err == nil
}

// inService lists the live replicas of a service.
func inService(views []api.AppView, service string) []api.ReplicaView {
	var out []api.ReplicaView
	for _, v := range views {
		for _, s := range v.Services {
			if s.Name != service {
				continue
			}
			for _, r := range s.Replicas {
				if isLive(r) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}
