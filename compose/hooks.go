package compose

import (
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

func (e *entry) hooks() {
	for i, h := range e.c.PreStart {
		e.spec.Hooks.PreStart = append(e.spec.Hooks.PreStart, e.preStart(i, h))
	}
	e.spec.Hooks.PostStart = e.serviceHooks("post_start", e.c.PostStart)
	e.spec.Hooks.PreStop = e.serviceHooks("pre_stop", e.c.PreStop)
}

// preStart turns an init container into a Hook. compose-go has completed it with the service's own settings, which is
// what a Hook runs with anyway; only what the hook itself may set is taken from it.
func (e *entry) preStart(i int, h types.PreStartHook) holdfast.Hook {
	out := holdfast.Hook{
		User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir, Env: envList(h.Environment), PerReplica: h.PerReplica,
	}
	if h.Image != e.c.Image {
		out.Image = h.Image
		if why := imageProblem(h.Image); why != "" {
			e.bad(at("pre_start", i, "image"), "%s", why)
		}
	}
	if e.sets("pre_start", i, "entrypoint") {
		out.Command = append(out.Command, h.Entrypoint...)
	}
	if e.sets("pre_start", i, "command") {
		out.Command = append(out.Command, h.Command...)
	}
	if len(out.Command) == 0 {
		e.bad(at("pre_start", i), "needs a command: it is run as it is, without the image's entrypoint")
	}
	return out
}

func (e *entry) serviceHooks(key string, hooks []types.ServiceHook) []holdfast.Hook {
	var out []holdfast.Hook
	for i, h := range hooks {
		if len(h.Command) == 0 {
			e.bad(at(key, i, "command"), "is empty: write what to run")
		}
		out = append(out, holdfast.Hook{
			Command: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir,
			Env: envList(h.Environment.Resolve(types.Mapping(e.env).Resolve)),
		})
	}
	return out
}
