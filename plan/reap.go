package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// What is kept for people to look at.
const (
	keptReplicas = 3 // ended ones per slot
	keptRuns     = 10
	keptReleases = 10
	keptEvents   = 2000
	eventSlack   = 200 // trimmed in one go, not one by one
)

// reap forgets what nobody needs any more.
func (p *planner) reap() {
	for key, s := range p.snap.Services.All("") {
		if app, ok := p.snap.Apps.Get(s.App); !ok || app.Removing || s.Removing {
			continue
		}
		p.reapReplicas(p.replicas[key])
		p.reapReleases(s, p.replicas[key])
	}
	p.reapStrays()
	p.reapFiles()
	p.reapApps()
	p.reapEvents()
}

// reapReplicas keeps the newest ended replicas of each slot, or of a job.
func (p *planner) reapReplicas(all []*replica) {
	kept := make(map[int]int)
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		if !r.ended() {
			continue
		}
		job := p.isJob(r)
		if r.Desired == holdfast.Run && !job {
			continue
		}
		slot, limit := r.Slot, keptReplicas
		if job {
			slot, limit = 0, keptRuns
		}
		if kept[slot]++; kept[slot] > limit {
			p.add(Action{
				App: r.App, Service: r.Service, Replica: r.ID, Text: "forget replica " + r.ID, Reason: "it ended long ago",
				Quiet: true, deletes: p.records(r),
			})
		}
	}
}

func (p *planner) isJob(r *replica) bool {
	rel, ok := p.snap.Releases.Get(store.ReleaseKey(r.App, r.Service, r.Release))
	return ok && rel.Spec.Mode == holdfast.Job
}

// reapReleases keeps the newest releases and those in use.
func (p *planner) reapReleases(s *holdfast.Service, replicas []*replica) {
	needed := map[int]bool{s.Release: true, s.Stable: true, s.Rollout.From: true, s.Rollout.To: true}
	for _, r := range replicas {
		needed[r.Release] = true
	}
	var numbers []int
	for _, rel := range p.snap.Releases.All(store.ServiceKey(s.App, s.Name) + "/") {
		numbers = append(numbers, rel.Number)
	}
	for _, n := range numbers[:max(0, len(numbers)-keptReleases)] {
		if !needed[n] {
			p.add(Action{
				App: s.App, Service: s.Name, Release: n, Text: fmt.Sprintf("forget release %d of service %s", n, s.Name),
				Reason: fmt.Sprintf("more than %d newer ones", keptReleases), Quiet: true,
				deletes: []any{&holdfast.Release{App: s.App, Service: s.Name, Number: n}},
			})
		}
	}
}

// reapStrays forgets replicas of services that are gone, and reports on replicas that are gone.
func (p *planner) reapStrays() {
	var strays []any
	for key, all := range p.replicas {
		if _, ok := p.snap.Services.Get(key); !ok {
			for _, r := range all {
				strays = append(strays, &holdfast.Replica{ID: r.ID})
			}
		}
	}
	slices.SortFunc(strays, func(a, b any) int { return strings.Compare(a.(*holdfast.Replica).ID, b.(*holdfast.Replica).ID) })
	for id, st := range p.snap.Statuses.All("") {
		if _, ok := p.snap.Replicas.Get(id); !ok {
			strays = append(strays, st)
		}
	}
	for _, d := range p.snap.Drains.All("") {
		if _, ok := p.snap.Replicas.Get(d.Replica); !ok {
			strays = append(strays, d)
		}
	}
	if len(strays) > 0 {
		p.add(Action{Text: fmt.Sprintf("forget %d records", len(strays)), Reason: "their replicas are gone", Quiet: true, deletes: strays})
	}
}

// reapFiles forgets contents that no release mounts.
func (p *planner) reapFiles() {
	if p.snap.Files.Len() == 0 {
		return
	}
	needed := make(map[string]bool)
	for _, rel := range p.snap.Releases.All("") {
		for _, f := range rel.Spec.Files {
			needed[store.FileKey(rel.App, f.Name, f.Digest)] = true
		}
		for _, f := range rel.Spec.RouteFiles() {
			needed[store.FileKey(rel.App, f.Name, f.Digest)] = true
		}
	}
	for key, f := range p.snap.Files.All("") {
		if !needed[key] {
			p.add(Action{
				App: f.App, Text: "forget the content of file " + f.Name, Reason: "no release mounts it", Quiet: true,
				deletes: []any{&holdfast.File{App: f.App, Name: f.Name, Digest: f.Digest}},
				depends: []any{&holdfast.App{Name: f.App}},
			})
		}
	}
}

// reapApps forgets apps that were to be removed and have no service left.
func (p *planner) reapApps() {
	for _, app := range p.snap.Apps.All("") {
		if !app.Removing || hasAny(p.snap.Services.All(app.Name+"/")) {
			continue
		}
		p.add(Action{
			App: app.Name, Text: "remove app " + app.Name, Reason: "all its services are gone",
			deletes: []any{&holdfast.App{Name: app.Name}}, event: holdfast.AppRemoved,
		})
	}
}

func (p *planner) reapEvents() {
	n := p.snap.Events.Len()
	if n <= keptEvents+eventSlack {
		return
	}
	var old []any
	for _, e := range p.snap.Events.All("") {
		if len(old) == n-keptEvents {
			break
		}
		old = append(old, e)
	}
	p.add(Action{Text: fmt.Sprintf("forget %d events", len(old)), Reason: "there are newer ones", Quiet: true, deletes: old})
}

func hasAny[T any](all func(func(string, *T) bool)) bool {
	for range all {
		return true
	}
	return false
}
