package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast/internal/netlab"
)

// process is what one process of the node uses.
type process struct {
	group               string // "agent", "service web", …
	rss, pss, anonymous int64
	cpu                 time.Duration // since its start
}

func sortedPIDs(m map[int]process) []int {
	return slices.SortedFunc(maps.Keys(m), func(a, b int) int {
		if m[a].group != m[b].group {
			return strings.Compare(m[a].group, m[b].group)
		}
		return a - b
	})
}

// processesOf reads all processes of Holdfast and of its containers on the node, by pid on the host.
func processesOf(t netlab.TB, node *netlab.Node) map[int]process {
	t.Helper()
	found := map[int]process{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		group := groupOf(node, dir)
		if group == "" {
			continue
		}
		p, err := read(dir)
		if err != nil {
			continue // ended
		}
		p.group = group
		pid, _ := strconv.Atoi(filepath.Base(dir))
		found[pid] = p
	}
	return found
}

// groupOf names what a process is to the node; "" when nothing.
func groupOf(node *netlab.Node, dir string) string {
	line, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return ""
	}
	args := strings.Split(string(line), "\x00")
	if strings.Contains(string(line), node.Dir) && len(args) > 1 && slices.Contains([]string{"agent", "gateway", "supervisor"}, args[1]) {
		return args[1]
	}
	cgroup, _ := os.ReadFile(dir + "/cgroup")
	_, within, found := strings.Cut(string(cgroup), "/"+filepath.Base(node.Dir)+"/")
	if !found {
		return ""
	}
	program, _, _ := strings.Cut(filepath.Base(args[0]), ":")
	switch {
	case program == initProgram && strings.HasPrefix(within, "supervisor\n"):
		return "supervisor's helpers"
	case program == initProgram:
		return "parked sandboxes"
	}
	return "container: " + program
}

// initProgram is what a sandbox's first process calls itself until the container's program takes its place.
const initProgram = "holdfast-init"

func read(dir string) (process, error) {
	text, err := os.ReadFile(dir + "/smaps_rollup")
	if err != nil {
		return process{}, err
	}
	p := process{rss: field(text, "Rss"), pss: field(text, "Pss"), anonymous: field(text, "Anonymous")}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return process{}, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return process{}, err
	}
	const ticks = 100 // sysconf(_SC_CLK_TCK), the same on all of Linux
	p.cpu = time.Duration(user+system) * time.Second / ticks
	return p, nil
}

// field returns a line of smaps_rollup, in bytes.
func field(text []byte, name string) int64 {
	_, rest, _ := strings.Cut(string(text), "\n"+name+":")
	var kib int64
	fmt.Sscan(rest, &kib) //nolint:errcheck // 0 when it is not there
	return kib << 10
}
