package compose

import (
	"cmp"
	"slices"

	"github.com/holdfast/holdfast"
)

// convert turns the merged project into what Load returns.
func (l *loading) convert() *Project {
	out := &Project{
		Name: l.project.Name, Dir: l.dir,
		Deployment: holdfast.Deployment{Name: l.project.Name},
		Sources:    map[string]holdfast.ImageSource{},
		defaulted:  map[string][]string{},
	}
	for _, f := range l.details.ConfigFiles {
		out.Files = append(out.Files, f.Filename)
	}
	all := l.entries()
	l.checkTogether(all)
	files := map[string]holdfast.File{}
	for _, e := range all {
		e.convert(files)
		out.Deployment.Services = append(out.Deployment.Services, e.spec)
		out.defaulted[e.name] = e.defaulted
		if e.source != nil {
			out.Sources[e.name] = *e.source
		}
	}
	l.checkConverted(all)
	out.Deployment.Networks = l.networks(all)
	out.Deployment.Volumes = l.volumes(all)
	for _, key := range sortedKeys(files) {
		out.Deployment.Files = append(out.Deployment.Files, files[key])
	}
	return out
}

// convert fills in the entry's Spec. Content of secrets and configs is added to files by name and digest.
func (e *entry) convert(files map[string]holdfast.File) {
	if e.c.Provider != nil {
		return // refused by key
	}
	e.resolveEnvironment()
	e.spec.Name = e.name
	e.x = e.extension()
	e.image()
	e.process()
	e.security()
	e.resources()
	e.mounts()
	e.fileMounts(files)
	e.network()
	e.ports()
	e.routes(files)
	e.health()
	e.hooks()
	e.dependencies()
	e.kind()
	e.mode()
	e.restart()
	e.updates()
	e.placement()
	e.logging()
	e.jobTriggers()
	e.labels()
}

func (e *entry) labels() {
	e.spec.Labels = nonEmpty(e.c.Labels)
	e.spec.Annotations = nonEmpty(e.c.Annotations)
	if e.c.Deploy != nil {
		e.spec.DeployLabels = nonEmpty(e.c.Deploy.Labels)
	}
}

func nonEmpty[M ~map[string]string](m M) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// dependencies turns depends_on into Spec.DependsOn, sorted by service.
func (e *entry) dependencies() {
	for _, name := range sortedKeys(e.c.DependsOn) {
		dep := e.c.DependsOn[name]
		if !e.active(name) {
			continue // checkTogether complained unless it is optional
		}
		condition, ok := conditions[dep.Condition]
		if !ok {
			e.bad(at("depends_on", name, "condition"), "unknown condition %q: use service_started, service_healthy "+
				"or service_completed_successfully", dep.Condition)
		}
		e.spec.DependsOn = append(e.spec.DependsOn, holdfast.Dependency{
			Service: name, Condition: condition, Restart: dep.Restart, Optional: !dep.Required,
		})
	}
	slices.SortFunc(e.spec.DependsOn, func(a, b holdfast.Dependency) int { return cmp.Compare(a.Service, b.Service) })
}

var conditions = map[string]string{
	"": "started", "service_started": "started", "service_healthy": "healthy", "service_completed_successfully": "completed",
}

// active reports whether a service or job takes part.
func (l *loading) active(name string) bool {
	if _, ok := l.project.Services[name]; ok {
		return true
	}
	_, ok := l.project.Jobs[name]
	return ok
}
