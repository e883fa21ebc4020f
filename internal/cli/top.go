package cli

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/container"
)

func (a *app) topCommand() *cobra.Command {
	var interval time.Duration
	var once bool
	cmd := &cobra.Command{
		Use:   "top [SERVICE]",
		Short: "Show what replicas use: CPU, memory, processes, I/O",
		Long: "Shows the use of resources, refreshed in place on a terminal until ctrl-c. When the output is no terminal, or with\n" +
			"--once, it measures over one interval and prints once.",
		Args:              args(0, 1),
		ValidArgsFunction: a.complete(1, a.serviceNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			if interval < 100*time.Millisecond {
				return usage("--interval %s: want at least 100ms", interval)
			}
			name, err := a.maybeAppName(cmd.Context())
			if err != nil {
				return err
			}
			service := ""
			if len(given) > 0 {
				service = given[0]
			}
			return leftWatching(a.top(cmd.Context(), name, service, interval, once || !isTerminal(a.Stdout)))
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two measurements")
	cmd.Flags().BoolVar(&once, "once", false, "print once and end")
	return cmd
}

func (a *app) top(ctx context.Context, app, service string, interval time.Duration, once bool) error {
	rounds := 0
	if once {
		rounds = 2
	}
	screen, named := &redraw{app: a}, a.nodeNames(ctx)
	var last api.Usage
	for u, err := range a.api().Stats(ctx, app, service, interval, rounds) {
		if err != nil {
			return err
		}
		rows := use(last, u)
		first := last.Time.IsZero()
		last = u
		switch {
		case first && once, first && a.json:
			continue
		case a.json:
			err = a.printLine(rows)
		case once:
			err = topTable(rows, named).write(a.Stdout)
		default:
			err = screen.draw(topTable(rows, named).lines())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// usageRow is a replica's use of resources between two readings.
type usageRow struct {
	api.ReplicaUsage
	CPUPercent float64 `json:"cpuPercent"` // of one core
	ReadRate   int64   `json:"readRate"`   // bytes a second
	WriteRate  int64   `json:"writeRate"`
}

// use compares each replica's reading with the one before; the busiest come first.
func use(last, now api.Usage) []usageRow {
	before := map[string]container.Stats{}
	for _, r := range last.Replicas {
		before[r.ID] = r.Stats
	}
	rows := make([]usageRow, 0, len(now.Replicas))
	for _, r := range now.Replicas {
		row := usageRow{ReplicaUsage: r}
		was, ok := before[r.ID]
		if took := r.Stats.Time.Sub(was.Time).Seconds(); ok && took > 0 {
			row.CPUPercent = 100 * (r.Stats.CPU - was.CPU).Seconds() / took
			row.ReadRate = int64(float64(r.Stats.ReadBytes-was.ReadBytes) / took)
			row.WriteRate = int64(float64(r.Stats.WriteBytes-was.WriteBytes) / took)
		}
		rows = append(rows, row)
	}
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].CPUPercent > rows[j].CPUPercent })
	return rows
}

func topTable(rows []usageRow, named *strings.Replacer) *table {
	apps := slices.ContainsFunc(rows, func(r usageRow) bool { return r.App != rows[0].App })
	head := []string{"SERVICE", "SLOT", "REPLICA", "CPU", "MEMORY", "LIMIT", "PROCESSES", "READ", "WRITTEN", "NODE"}
	if apps {
		head = append([]string{"APP"}, head...)
	}
	t := newTable(head...)
	for _, r := range rows {
		limit := ""
		if r.Stats.MemoryLimit > 0 {
			limit = size(r.Stats.MemoryLimit)
		}
		cells := []string{
			r.Service, strconv.Itoa(r.Slot), r.ID, fmt.Sprintf("%.1f%%", r.CPUPercent), size(r.Stats.Memory), limit,
			strconv.FormatInt(r.Stats.PIDs, 10), size(r.ReadRate) + "/s", size(r.WriteRate) + "/s", named.Replace(r.Node),
		}
		if apps {
			cells = append([]string{r.App}, cells...)
		}
		t.row(cells...)
	}
	return t
}

// redraw shows lines in place of those it showed before.
type redraw struct {
	app   *app
	drawn int
}

func (r *redraw) draw(lines []string) error {
	var b strings.Builder
	if r.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", r.drawn)
	}
	rows, cols := terminalSize(r.app.Stdout)
	if rows > 1 && len(lines) > int(rows)-1 {
		lines = lines[:rows-1]
	}
	for _, line := range lines {
		if cols > 0 {
			line = clip(line, int(cols))
		}
		b.WriteString("\r" + line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	r.drawn = len(lines)
	_, err := fmt.Fprint(r.app.Stdout, b.String())
	return err
}
