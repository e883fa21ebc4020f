package compose

import (
	"fmt"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// selectServices narrows the project to the services asked for and what they depend on, and settles what of the
// model's refused keys concerns the rest.
func (l *loading) selectServices() {
	if len(l.opt.Services) > 0 {
		l.narrow()
	}
	for _, p := range l.refused {
		if l.concerns(p.Path) {
			l.problems = append(l.problems, p)
		}
	}
	for _, r := range l.remarks {
		if l.concerns(r.at.String()) {
			l.note(r.at, "", "%s", r.text)
		}
	}
}

// concerns reports whether a path is not inside a service or job that is left out.
func (l *loading) concerns(path string) bool {
	inside := func(section, name string) bool { return within(path, section+"."+name) }
	for name := range l.project.DisabledServices {
		if inside("services", name) && !l.active(name) {
			return false
		}
	}
	for name := range l.project.DisabledJobs {
		if inside("jobs", name) && !l.active(name) {
			return false
		}
	}
	return true
}

// narrow keeps the services and jobs that were asked for, whatever their profiles, and what they depend on.
func (l *loading) narrow() {
	services, jobs := l.project.AllServices(), l.project.AllJobs()
	keep := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if keep[name] {
			return
		}
		keep[name] = true
		deps := services[name].DependsOn
		if _, ok := services[name]; !ok {
			deps = jobs[name].DependsOn
		}
		for _, dep := range sortedKeys(deps) {
			_, isService := services[dep]
			_, isJob := jobs[dep]
			if (isService || isJob) && (deps[dep].Required || l.active(dep)) {
				visit(dep)
			}
		}
	}
	for _, name := range l.opt.Services {
		_, isService := services[name]
		_, isJob := jobs[name]
		if !isService && !isJob {
			l.problems = append(l.problems, Problem{Kind: holdfast.ErrInvalid, Reason: fmt.Sprintf("no service or job %q%s", name,
				didYouMean(name, append(sortedKeys(services), sortedKeys(jobs)...)))})
			continue
		}
		visit(name)
	}
	l.keep(services, jobs, keep)
}

func (l *loading) keep(services types.Services, jobs types.Jobs, keep map[string]bool) {
	p := *l.project
	p.Services, p.DisabledServices = types.Services{}, types.Services{}
	p.Jobs, p.DisabledJobs = types.Jobs{}, types.Jobs{}
	for name, s := range services {
		if keep[name] {
			p.Services[name] = s
		} else {
			p.DisabledServices[name] = s
		}
	}
	for name, j := range jobs {
		if keep[name] {
			p.Jobs[name] = j
		} else {
			p.DisabledJobs[name] = j
		}
	}
	l.project = &p
}
