package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
)

type logFlags struct {
	follow     bool
	since      string
	tail       string
	timestamps bool
	noPrefix   bool
}

func (a *app) logsCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs [SERVICE|REPLICA...]",
		Short: "Print what replicas wrote, merged by time",
		Example: "  holdfast logs -f                    everything of the app, as it comes\n" +
			"  holdfast logs --since 10m api       the last ten minutes of one service\n" +
			"  holdfast logs -n 20 -t web.2        the last 20 lines of one replica, with their times",
		Args:              args(0, -1),
		ValidArgsFunction: a.complete(-1, a.replicaNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			err := a.logs(cmd.Context(), f, refs)
			if f.follow {
				err = leftWatching(err)
			}
			return err
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on with what is written from now on")
	fl.StringVar(&f.since, "since", "", "only lines from then on: a duration (10m) or a time (2026-01-02T15:04:05Z)")
	fl.StringVarP(&f.tail, "tail", "n", "all", "at most this many of the newest lines of each replica")
	fl.BoolVarP(&f.timestamps, "timestamps", "t", false, "print the time of each line")
	fl.BoolVar(&f.noPrefix, "no-prefix", false, "print the lines alone, without the replica's name")
	return cmd
}

func (a *app) logs(ctx context.Context, f logFlags, refs []string) error {
	req, err := f.request(a.Now())
	if err != nil {
		return err
	}
	name, err := a.appName(ctx)
	if err != nil {
		return err
	}
	v, err := a.api().App(ctx, name)
	if err != nil {
		return err
	}
	if err := chooseLogs(&req, v, refs); err != nil {
		return err
	}
	p := newLogPrinter(a, f, v)
	for line, err := range a.api().Logs(ctx, name, req) {
		if err != nil {
			return err
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
	return p.flush()
}

func (f logFlags) request(now time.Time) (api.LogsRequest, error) {
	since, err := parseSince(f.since, now)
	if err != nil {
		return api.LogsRequest{}, usage("--since %s: want a duration like 10m or a time like 2026-01-02T15:04:05Z", f.since)
	}
	tail, err := parseTail(f.tail)
	if err != nil {
		return api.LogsRequest{}, usage("--tail %s: want a number of lines, or all", f.tail)
	}
	return api.LogsRequest{Since: since, Tail: tail, Follow: f.follow}, nil
}

// parseSince reads a duration before now, or a time, or a date.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("no time: %q", text)
}

func parseTail(text string) (int, error) {
	if text == "all" || text == "" {
		return -1, nil
	}
	var n int
	if _, err := fmt.Sscanf(text+"\n", "%d\n", &n); err != nil || n < 0 {
		return 0, fmt.Errorf("no number: %q", text)
	}
	return n, nil
}

// chooseLogs narrows the request to the services and replicas that refs name.
func chooseLogs(req *api.LogsRequest, v api.AppView, refs []string) error {
	for _, ref := range refs {
		found := match([]api.AppView{v}, ref)
		isService := false
		for _, s := range v.Services {
			isService = isService || s.Name == ref
		}
		switch {
		case isService:
			req.Services = append(req.Services, ref)
		case len(found) == 0:
			return noReplica([]api.AppView{v}, ref)
		}
		for _, r := range found {
			req.Replicas = append(req.Replicas, r.ID)
		}
	}
	// Services and replicas narrow each other on the wire; with both kinds asked for, replicas say it all.
	if len(req.Replicas) > 0 && !onlyServiceNames(refs, req.Services) {
		req.Services = nil
	} else {
		req.Replicas = nil
	}
	return nil
}

func onlyServiceNames(refs, services []string) bool { return len(refs) == len(services) }

// logPrinter prints lines with the name of the replica, in its colour, in front.
type logPrinter struct {
	out        io.Writer
	st         style
	json       func(any) error
	timestamps bool
	prefix     bool
	width      int
	parts      map[string]string // by replica and stream: a line of which more is to come
}

func newLogPrinter(a *app, f logFlags, v api.AppView) *logPrinter {
	p := &logPrinter{
		out: a.Stdout, st: a.outStyle(), timestamps: f.timestamps, prefix: !f.noPrefix, parts: map[string]string{},
	}
	if a.json {
		p.json = a.printLine
	}
	for _, s := range v.Services {
		for _, r := range s.Replicas {
			p.width = max(p.width, len(logName(r.Service, r.Slot)))
		}
	}
	return p
}

func logName(service string, slot int) string { return fmt.Sprintf("%s.%d", service, slot) }

func (p *logPrinter) print(l api.LogLine) error {
	if p.json != nil {
		return p.json(l)
	}
	key := l.Replica + "\x00" + l.Stream
	if l.Partial {
		p.parts[key] += l.Text
		return nil
	}
	l.Text = p.parts[key] + l.Text
	delete(p.parts, key)
	_, err := io.WriteString(p.out, p.line(l)+"\n")
	return err
}

func (p *logPrinter) line(l api.LogLine) string {
	var b strings.Builder
	if p.prefix {
		name := logName(l.Service, l.Slot)
		p.width = max(p.width, len(name))
		b.WriteString(p.st.named(name, fmt.Sprintf("%-*s |", p.width, name)) + " ")
	}
	if p.timestamps {
		b.WriteString(p.st.dim(l.Time.UTC().Format("2006-01-02T15:04:05.000Z")) + " ")
	}
	b.WriteString(l.Text)
	return b.String()
}

// flush prints what was left without an end of line.
func (p *logPrinter) flush() error {
	for _, key := range sortedKeys(p.parts) {
		if _, err := io.WriteString(p.out, p.parts[key]+"\n"); err != nil {
			return err
		}
	}
	return nil
}
