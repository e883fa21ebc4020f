package cli

import (
	"fmt"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// goal is what a command waits for: releases that its services are to reach.
type goal struct {
	releases map[string]int  // by service: the release to be rolled out
	steady   map[string]bool // services that did not change, and are waited for only while nothing is wrong with them
}

// newGoal compares an app before and after a change. before may be the zero view.
func newGoal(before, after api.AppView) goal {
	g := goal{releases: map[string]int{}, steady: map[string]bool{}}
	old := map[string]api.ServiceView{}
	for _, s := range before.Services {
		old[s.Name] = s
	}
	for _, s := range after.Services {
		was, there := old[s.Name]
		changed := !there || was.Release != s.Release || !was.Rollout.Started.Equal(s.Rollout.Started)
		if changed {
			g.releases[s.Name] = s.Release
		} else {
			g.steady[s.Name] = true
		}
	}
	return g
}

// verdict is how a service stands to a goal.
type verdict int

const (
	pending verdict = iota
	reached
	failed
)

// judge says how s stands, and why when it failed or is left as it is.
func (g goal) judge(s *api.ServiceView) (verdict, string) {
	target, changed := g.releases[s.Name]
	switch {
	case s.Removing:
		return pending, ""
	case s.Mode == holdfast.Job:
		return reached, ""
	case s.Paused:
		return reached, "paused: holdfast resume " + s.Name + " lets it go on"
	case changed:
		return judgeRollout(s, target)
	case g.steady[s.Name] && s.Ready+s.Finished < s.Want && s.Backoff.Failures == 0:
		return pending, ""
	case s.Ready > s.Want:
		return pending, "" // scaled down, and which replicas go is not decided yet
	case s.Ready+s.Finished < s.Want:
		return reached, s.Backoff.Reason
	}
	return reached, ""
}

func judgeRollout(s *api.ServiceView, target int) (verdict, string) {
	full := s.Release == target && s.Updated+s.Finished >= s.Want
	switch s.Rollout.Phase {
	case holdfast.RolledBack, holdfast.Halted:
		return failed, s.Rollout.Reason
	case holdfast.RollingBack:
		return pending, s.Rollout.Reason
	case holdfast.Done, "":
		if full {
			return reached, ""
		}
	case holdfast.Monitoring:
		// There is no release to go back to from a first one: what is ready now is the result.
		if full && s.Rollout.From == 0 {
			return reached, ""
		}
	}
	if s.Release > target {
		return failed, fmt.Sprintf("overtaken by release %d", s.Release)
	}
	return pending, ""
}

// result is how the whole app stands: done when nothing is pending.
func (g goal) result(v api.AppView) (done bool, failures []string) {
	done = true
	for i := range v.Services {
		s := &v.Services[i]
		switch state, why := g.judge(s); state {
		case pending:
			done = false
		case failed:
			failures = append(failures, failureText(s, why))
		}
	}
	return done, failures
}

func failureText(s *api.ServiceView, why string) string {
	text := fmt.Sprintf("service %s: release %d", s.Name, max(s.Rollout.To, s.Release))
	switch s.Rollout.Phase {
	case holdfast.RolledBack:
		text = fmt.Sprintf("service %s was rolled back to release %d", s.Name, s.Release)
	case holdfast.Halted:
		text = fmt.Sprintf("the rollout of service %s was halted", s.Name)
	}
	if why != "" {
		text += ": " + why
	}
	return text
}

// rolloutError is the error of a rollout that did not end well.
func rolloutError(failures []string) error {
	if len(failures) == 0 {
		return nil
	}
	return &exitError{exitRollout, strings.Join(failures, "\n")}
}
