package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// job is one thing besides the rollout that is waited for: an image being built or pulled.
type job struct {
	name     string // "pull nginx:1.27"
	detail   string
	current  int64
	total    int64
	started  time.Time
	finished time.Time
	err      error
}

// board is all that a waiting command shows. Drawing it is pure.
type board struct {
	title   string
	started time.Time
	jobs    []*job
	view    *api.AppView
	goal    goal
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// lines draws the board for a terminal of the given size; frame turns the spinners.
func (b *board) lines(st style, now time.Time, frame, width, height int) []string {
	out := []string{st.bold(b.title) + "  " + st.dim(age(now.Sub(b.started)))}
	for _, j := range b.jobs {
		out = append(out, j.line(st, now, frame))
	}
	if b.view != nil {
		for i := range b.view.Services {
			out = append(out, b.service(st, now, frame, &b.view.Services[i])...)
		}
	}
	if height > 1 && len(out) > height-1 {
		rest := len(out) - (height - 2)
		out = append(out[:height-2], st.dim(fmt.Sprintf("  … %d more lines", rest)))
	}
	for i := range out {
		out[i] = clip(strings.TrimRight(out[i], " "), width)
	}
	return out
}

func (j *job) line(st style, now time.Time, frame int) string {
	mark, until, detail := st.yellow(spin(frame)), now, j.detail
	switch {
	case j.err != nil:
		mark, until, detail = st.red("✘"), j.finished, st.red(j.err.Error())
	case !j.finished.IsZero():
		mark, until = st.green("✔"), j.finished
	case j.total > 0:
		detail = bar(j.current, j.total, 20) + " " + size(j.current) + " of " + size(j.total)
	}
	return fmt.Sprintf(" %s %s  %s  %s", mark, j.name, st.dim(age(until.Sub(j.started))), detail)
}

func spin(frame int) string { return spinner[frame%len(spinner)] }

// bar is a progress bar of width characters.
func bar(current, total int64, width int) string {
	n := int(min(current, total) * int64(width) / max(total, 1))
	return "[" + strings.Repeat("█", n) + strings.Repeat("░", width-n) + "]"
}

// service draws a service, and its replicas while they are waited for.
func (b *board) service(st style, now time.Time, frame int, s *api.ServiceView) []string {
	state, why := b.goal.judge(s)
	mark := st.yellow(spin(frame))
	switch state {
	case reached:
		mark = st.green("✔")
	case failed:
		mark = st.red("✘")
	}
	count := fmt.Sprintf("%d/%d ready", s.Updated, s.Want)
	switch {
	case s.Removing:
		count = fmt.Sprintf("%d left", left(s))
	case s.Mode == holdfast.Job:
		count = "job"
	}
	head := fmt.Sprintf(" %s %-14s %-9s  release %d  %s", mark, s.Name, count, s.Release, phaseText(s))
	if why != "" {
		head += "  " + st.red(why)
	} else if s.Backoff.Until.After(now) {
		head += "  " + st.red("next try in "+age(s.Backoff.Until.Sub(now))+": "+s.Backoff.Reason)
	}
	out := []string{head}
	if state != pending {
		return out
	}
	for _, r := range s.Replicas {
		if b.shown(s, r) {
			out = append(out, replicaLine(st, now, frame, s, r))
		}
	}
	return out
}

// shown leaves out replicas that ended well, and failed ones of releases before.
func (b *board) shown(s *api.ServiceView, r api.ReplicaView) bool {
	return !r.Status.State.Ended() || r.Status.State == holdfast.Failed && r.Release == s.Release
}

func replicaLine(st style, now time.Time, frame int, s *api.ServiceView, r api.ReplicaView) string {
	mark, took := st.yellow(spin(frame)), now.Sub(r.Created)
	switch {
	case r.Status.State == holdfast.Failed:
		mark, took = st.red("✘"), r.Status.Finished.Sub(r.Created)
	case r.Desired == holdfast.Stop:
		mark, took = st.dim("↓"), now.Sub(r.StopSince)
	case r.Status.Ready:
		mark, took = st.green("✔"), r.Status.ReadyAt.Sub(r.Created)
	}
	line := fmt.Sprintf("     %s %s.%d  r%d  %s  %s", mark, s.Name, r.Slot, r.Release, replicaState(r), st.dim(age(took)))
	if why := reasonOf(r); why != "" {
		line += "  " + why
	}
	return line
}

// replicaState is the state in a word, "ready" once it is.
func replicaState(r api.ReplicaView) string {
	if r.Status.Ready && r.Status.State == holdfast.Running && r.Desired == holdfast.Run {
		return "ready"
	}
	return stateOf(r)
}

func phaseText(s *api.ServiceView) string {
	switch {
	case s.Removing:
		return "removing"
	case s.Paused:
		return "paused"
	case s.Rollout.Phase == holdfast.Done || s.Rollout.Phase == "":
		return ""
	}
	return string(s.Rollout.Phase)
}

// fact is one line of the plain log: printed when the text of its key changes.
type fact struct{ key, text string }

// facts lists what the plain log may tell.
func (b *board) facts() []fact {
	var out []fact
	for _, j := range b.jobs {
		out = append(out, fact{"job " + j.name, j.fact()})
	}
	if b.view == nil {
		return out
	}
	for i := range b.view.Services {
		s := &b.view.Services[i]
		for _, r := range s.Replicas {
			out = append(out, fact{r.ID, replicaFact(s, r)})
		}
		out = append(out, fact{"service " + s.Name, b.serviceFact(s)})
	}
	return out
}

func (j *job) fact() string {
	switch {
	case j.err != nil:
		return j.name + ": failed after " + age(j.finished.Sub(j.started)) // the command ends with the error itself
	case !j.finished.IsZero():
		return j.name + ": done in " + age(j.finished.Sub(j.started)) + suffix(j.detail)
	}
	return j.name
}

func suffix(detail string) string {
	if detail == "" {
		return ""
	}
	return ", " + detail
}

func replicaFact(s *api.ServiceView, r api.ReplicaView) string {
	text := s.Name + "." + strconv.Itoa(r.Slot) + " (release " + strconv.Itoa(r.Release) + "): " + replicaState(r)
	if replicaState(r) == "ready" {
		return text + " after " + age(r.Status.ReadyAt.Sub(r.Created))
	}
	if r.InFlight > 0 {
		return text // the number of requests in flight changes too often for a log
	}
	if why := reasonOf(r); why != "" {
		text += ": " + why
	}
	return text
}

// left is how many replicas have not ended.
func left(s *api.ServiceView) int {
	n := 0
	for _, r := range s.Replicas {
		if !r.Status.State.Ended() {
			n++
		}
	}
	return n
}

func (b *board) serviceFact(s *api.ServiceView) string {
	if s.Removing {
		return s.Name + ": removing, " + plural(left(s), "replica") + " left"
	}
	state, why := b.goal.judge(s)
	if s.Mode == holdfast.Job {
		return s.Name + ": job, release " + strconv.Itoa(s.Release)
	}
	text := s.Name + ": " + strconv.Itoa(s.Updated) + " of " + strconv.Itoa(s.Want) + " ready"
	switch state {
	case reached:
		text += ", release " + strconv.Itoa(s.Release) + " done"
	case failed:
		text = failureText(s, "")
	default:
		if p := phaseText(s); p != "" {
			text += ", " + p
		}
	}
	if why != "" {
		text += ": " + why
	}
	return text
}
