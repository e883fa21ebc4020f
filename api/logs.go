package api

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container/logs"
	"github.com/holdfast/holdfast/store"
)

type logsInput struct {
	AppPath
	Service []string  `query:"service,explode" doc:"Only these services; none: all"`
	Replica []string  `query:"replica,explode" doc:"Only these replicas; following ends when they have"`
	Since   time.Time `query:"since" doc:"Only lines written then or later"`
	Tail    int       `query:"tail" default:"-1" doc:"At most this many of the newest lines of each replica; below 0 all"`
	Follow  bool      `query:"follow" doc:"Go on with the lines to come, of replicas to come too"`
}

// appLogs writes what is there, merged by time, and then, when following, what comes, in the order that it comes.
func (s *Server) appLogs(ctx context.Context, in *logsInput, emit func(LogLine) error) error {
	snap := s.cfg.State.Snapshot()
	if err := checkLogNames(snap, in); err != nil {
		return err
	}
	f := &logFollower{server: s, in: in, marks: map[string]logMark{}}
	if err := f.history(ctx, snap, emit); err != nil || !in.Follow {
		return err
	}
	return f.follow(ctx, snap, emit)
}

func checkLogNames(snap *store.Snapshot, in *logsInput) error {
	if _, err := viewApp(snap, in.App); err != nil {
		return err
	}
	for _, name := range in.Service {
		if _, err := viewOneService(snap, in.App, name); err != nil {
			return err
		}
	}
	for _, id := range in.Replica {
		if _, err := viewOneReplica(snap, id); err != nil {
			return err
		}
	}
	return nil
}

// logFollower knows up to where each replica's log was read, so that following goes on right behind.
type logFollower struct {
	server *Server
	in     *logsInput
	marks  map[string]logMark // by replica

	// Of following.
	lines chan LogLine
	ended chan string // replicas whose log is at its end
	fail  chan error
}

// logMark is the time of the last line that was read and how many lines of that time were.
type logMark struct {
	at time.Time
	n  int
}

func (m logMark) next(at time.Time) logMark {
	if at.Equal(m.at) {
		return logMark{at, m.n + 1}
	}
	return logMark{at, 1}
}

// wanted returns the replicas asked for.
func (f *logFollower) wanted(snap *store.Snapshot) []ReplicaView {
	return slices.DeleteFunc(viewReplicas(snap, f.in.App, "", true), func(r ReplicaView) bool {
		byService := len(f.in.Service) > 0 && !slices.Contains(f.in.Service, r.Service)
		byID := len(f.in.Replica) > 0 && !slices.Contains(f.in.Replica, r.ID)
		return byService || byID
	})
}

func (f *logFollower) history(ctx context.Context, snap *store.Snapshot, emit func(LogLine) error) error {
	var sources []iter.Seq2[LogLine, error]
	for _, r := range f.wanted(snap) {
		f.marks[r.ID] = logMark{at: f.in.Since}
		all := f.marking(linesOf(f.server.cfg.Logs.Logs(ctx, r.ID, f.in.Since, -1, false), r))
		if f.in.Tail >= 0 {
			all = tailOf(all, f.in.Tail)
		}
		sources = append(sources, all)
	}
	for line, err := range mergeLogs(sources) {
		if err == nil {
			err = emit(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// marking moves a replica's mark along as its lines are read.
func (f *logFollower) marking(lines iter.Seq2[LogLine, error]) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		for line, err := range lines {
			if err == nil {
				f.marks[line.Replica] = f.marks[line.Replica].next(line.Time)
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// tailOf yields the last n lines. It reads all of them, and not the end alone, for the mark must count lines of one
// time: those that were written at once share theirs.
func tailOf(lines iter.Seq2[LogLine, error], n int) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		var last []LogLine
		for line, err := range lines {
			if err != nil {
				yield(line, err)
				return
			}
			last = append(last, line)
			if len(last) >= 2*n+64 {
				last = slices.Clone(last[len(last)-n:])
			}
		}
		for _, line := range last[max(0, len(last)-n):] {
			if !yield(line, nil) {
				return
			}
		}
	}
}

// linesOf names the replica in each line. A replica without a log has no lines.
func linesOf(entries iter.Seq2[logs.Entry, error], r ReplicaView) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		for e, err := range entries {
			if errors.Is(err, holdfast.ErrNotFound) {
				return
			}
			line := LogLine{Time: e.Time, App: r.App, Service: r.Service, Slot: r.Slot, Replica: r.ID,
				Stream: e.Stream, Partial: e.Partial, Text: e.Text}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// follow starts one reader per replica, those that come up later included, and emits what they read. When replicas
// were named it ends with the last of them.
func (f *logFollower) follow(ctx context.Context, snap *store.Snapshot, emit func(LogLine) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.lines, f.ended, f.fail = make(chan LogLine, 256), make(chan string), make(chan error, 1)
	snaps := make(chan *store.Snapshot)
	go f.watch(ctx, snap.Revision, snaps)
	started, running := map[string]bool{}, 0
	for seen := int64(-1); ; {
		if snap.Revision > seen {
			seen = snap.Revision
			running += f.startReaders(ctx, snap, started)
		}
		if running == 0 && len(f.in.Replica) > 0 {
			return emitAll(withWaiting(nil, f.lines), emit)
		}
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-f.fail:
		case snap = <-snaps:
		case <-f.ended:
			running--
		case line := <-f.lines:
			err = emitAll(withWaiting([]LogLine{line}, f.lines), emit)
		}
		if err != nil {
			return err
		}
	}
}

// startReaders starts a reader for each replica that has none yet and returns how many it started.
func (f *logFollower) startReaders(ctx context.Context, snap *store.Snapshot, started map[string]bool) int {
	n := 0
	for _, r := range f.wanted(snap) {
		if !started[r.ID] {
			started[r.ID] = true
			n++
			go f.read(ctx, r, f.marks[r.ID])
		}
	}
	return n
}

func emitAll(lines []LogLine, emit func(LogLine) error) error {
	for _, l := range lines {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

// withWaiting returns batch and what waits behind it, by time: several replicas may have written at once.
func withWaiting(batch []LogLine, lines <-chan LogLine) []LogLine {
	for len(batch) < cap(lines) {
		select {
		case l := <-lines:
			batch = append(batch, l)
			continue
		default:
		}
		break
	}
	slices.SortStableFunc(batch, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	return batch
}

// watch sends each new snapshot until ctx ends.
func (f *logFollower) watch(ctx context.Context, after int64, snaps chan<- *store.Snapshot) {
	for {
		snap, err := f.server.cfg.State.Wait(ctx, after)
		if err != nil {
			f.failed(err)
			return
		}
		after = snap.Revision
		select {
		case snaps <- snap:
		case <-ctx.Done():
			return
		}
	}
}

// read sends a replica's lines from its mark on: Since includes the mark's time, so that many lines are skipped.
func (f *logFollower) read(ctx context.Context, r ReplicaView, mark logMark) {
	for line, err := range linesOf(f.server.cfg.Logs.Logs(ctx, r.ID, mark.at, -1, true), r) {
		if err != nil {
			f.failed(err)
			return
		}
		if mark.n > 0 && line.Time.Equal(mark.at) {
			mark.n--
			continue
		}
		select {
		case f.lines <- line:
		case <-ctx.Done():
			return
		}
	}
	select {
	case f.ended <- r.ID:
	case <-ctx.Done():
	}
}

// failed makes follow return err; the first one counts.
func (f *logFollower) failed(err error) {
	select {
	case f.fail <- err:
	default:
	}
}
