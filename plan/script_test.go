package plan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print into them")

// TestScripts runs the scripts of testdata: lines that start with "> " are commands, those with "#" comments, and what
// stands below a command is what it prints.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, string(text))
			switch {
			case got == string(text):
			case *rewrite:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("the script prints something else (-rewrite takes it over):\n%s", got)
			}
		})
	}
}

func run(t *testing.T, script string) string {
	s := &scripted{world: newWorld(t), specs: map[string]holdfast.Spec{}}
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		command, ok := strings.CutPrefix(line, "> ")
		switch {
		case ok:
			fmt.Fprintln(&out, line)
			out.WriteString(s.do(command))
		case strings.HasPrefix(line, "#"), line == "":
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}

type scripted struct {
	*world
	specs map[string]holdfast.Spec
	order []string
}

// do runs one command and returns what it prints.
func (s *scripted) do(command string) string {
	words := strings.Fields(command)
	args := words[1:]
	switch words[0] {
	case "node": // id [drained] [label=value …]
		s.put(scriptNode(args))
		return ""
	case "service": // name [setting=value …]: changes what the next deploy sends
		s.set(args[0], args[1:])
		return ""
	case "unservice":
		delete(s.specs, args[0])
		return ""
	case "deploy": // [orphans] [force]
		return s.request(s.sendDeploy(args))
	case "down":
		return s.request(plan.Down(s.snap(), "shop"))
	case "scale":
		n, _ := strconv.Atoi(args[1])
		return s.request(plan.Scale(s.snap(), "shop", map[string]int{args[0]: n}))
	case "rollback": // service [release]
		n, _ := strconv.Atoi(strings.Join(args[1:], ""))
		return s.request(plan.Rollback(s.snap(), "shop", args[0], n, s.now))
	case "pause":
		return s.request(plan.Pause(s.snap(), "shop", args[0]))
	case "resume":
		return s.request(plan.Resume(s.snap(), "shop", args[0], s.now))
	case "restart":
		return s.request(plan.Restart(s.snap(), "shop", args[0], s.now))
	case "run":
		return s.request(plan.RunJob(s.snap(), "shop", args[0]))
	case "kill": // service slot
		return s.request(plan.Stop(s.snap(), s.at(args).ID, true, s.now))
	case "plan":
		return s.show(s.world.plan())
	case "settle":
		return s.show(s.world.settle())
	case "starting":
		s.starting(s.at(args))
	case "ready": // service slot …
		for _, slot := range args[1:] {
			s.ready(s.at([]string{args[0], slot}))
		}
	case "exit": // service slot code
		code, _ := strconv.Atoi(args[2])
		s.exit(s.at(args), code)
	case "stopped": // service slot: the oldest one that is to stop
		s.stopped(args)
	case "after":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(d)
	case "ps":
		return s.ps()
	case "rollout":
		return s.rollout(args[0])
	default:
		s.t.Fatalf("unknown command %q", command)
	}
	return ""
}

func (s *scripted) at(args []string) *holdfast.Replica {
	slot, err := strconv.Atoi(args[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return s.replica(args[0], slot)
}

func (s *scripted) stopped(args []string) {
	slot, _ := strconv.Atoi(args[1])
	for id, r := range s.snap().Replicas.All("") {
		st, ok := s.snap().Statuses.Get(id)
		if r.Service == args[0] && r.Slot == slot && r.Desired == holdfast.Stop && (!ok || !st.State.Ended()) {
			s.exit(r, 0)
			return
		}
	}
	s.t.Fatalf("nothing of %s stops in slot %d", args[0], slot)
}

func (s *scripted) request(actions []plan.Action, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	s.apply(actions)
	var out strings.Builder
	for _, a := range actions {
		fmt.Fprintln(&out, a)
	}
	return out.String()
}

func (s *scripted) show(actions []plan.Action) string {
	var out strings.Builder
	for _, a := range actions {
		if !a.Quiet {
			fmt.Fprintln(&out, a)
		}
	}
	if !s.next.IsZero() {
		fmt.Fprintf(&out, "again in %v\n", s.next.Sub(s.now))
	}
	return out.String()
}

func (s *scripted) rollout(name string) string {
	svc := s.service(name)
	return fmt.Sprintf("release %d, stable %d, %s from %d to %d, failed %d, reason %q; back-off %d %q\n", svc.Release, svc.Stable,
		svc.Rollout.Phase, svc.Rollout.From, svc.Rollout.To, svc.Rollout.Failed, svc.Rollout.Reason, svc.Backoff.Failures, svc.Backoff.Reason)
}

func (s *scripted) sendDeploy(args []string) ([]plan.Action, error) {
	var specs []holdfast.Spec
	volumes := map[string]holdfast.Volume{}
	for _, name := range s.order {
		sp, ok := s.specs[name]
		if !ok {
			continue
		}
		specs = append(specs, sp)
		for _, m := range sp.Mounts {
			volumes[m.Source] = holdfast.Volume{Name: "shop_" + m.Source}
		}
	}
	d := shop(specs...)
	d.Volumes = volumes
	for _, arg := range args {
		d.RemoveOrphans = d.RemoveOrphans || arg == "orphans"
		d.ForceRecreate = d.ForceRecreate || arg == "force"
	}
	return plan.Deploy(s.snap(), d, s.now)
}

func scriptNode(args []string) *holdfast.Node {
	n := node(args[0])
	n.Labels = map[string]string{}
	for _, arg := range args[1:] {
		key, value, labelled := strings.Cut(arg, "=")
		if labelled {
			n.Labels[key] = value
		} else {
			n.Drained = arg == "drained"
		}
	}
	return n
}

// set changes a service of the next deployment.
func (s *scripted) set(name string, settings []string) {
	sp, ok := s.specs[name]
	if !ok {
		sp = spec(name)
		s.order = append(s.order, name)
	}
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		n, _ := strconv.Atoi(value)
		d, _ := time.ParseDuration(value)
		switch key {
		case "image":
			sp.Image = value
		case "replicas":
			sp.Replicas = n
		case "kind":
			sp.Kind = holdfast.Kind(value)
		case "mode":
			sp.Mode = holdfast.Mode(value)
		case "order":
			sp.Update.Order, sp.Rollback.Order = value, value
		case "parallelism":
			sp.Update.Parallelism = n
		case "delay":
			sp.Update.Delay = holdfast.Duration(d)
		case "monitor":
			sp.Update.Monitor = holdfast.Duration(d)
		case "on-failure":
			sp.Update.FailureAction = value
		case "ratio":
			sp.Update.MaxFailureRatio, _ = strconv.ParseFloat(value, 64)
		case "restart":
			sp.Restart.Condition = value
		case "attempts":
			sp.Restart.MaxAttempts = n
		case "needs": // service:condition
			service, condition, _ := strings.Cut(value, ":")
			sp.DependsOn = append(sp.DependsOn, holdfast.Dependency{Service: service, Condition: condition})
		case "volume":
			sp.Mounts = append(sp.Mounts, holdfast.Mount{Type: "volume", Source: value, Target: "/data"})
		case "cron":
			sp.Triggers = []holdfast.Trigger{{Cron: strings.ReplaceAll(value, "_", " "), Concurrency: "forbid", MissedFires: "skip"}}
		case "concurrency":
			sp.Triggers[0].Concurrency = value
		case "missed":
			sp.Triggers[0].MissedFires = value
		case "zone":
			sp.Triggers[0].Timezone = value
		case "constraint":
			sp.Placement.Constraints = append(sp.Placement.Constraints, value)
		case "spread":
			sp.Placement.Spread = append(sp.Placement.Spread, value)
		case "port":
			sp.Ports = append(sp.Ports, holdfast.Port{Target: 80, Published: uint16(n), Protocol: "tcp", Mode: "ingress"})
		case "hostport":
			sp.Ports = append(sp.Ports, holdfast.Port{Target: 80, Published: uint16(n), Protocol: "tcp", Mode: "host"})
		case "cpus":
			sp.Resources.ReservedCPUs, _ = strconv.ParseFloat(value, 64)
		default:
			s.t.Fatalf("unknown setting %q", setting)
		}
	}
	s.specs[name] = sp
}
