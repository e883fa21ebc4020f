//go:build linux

package linux

import (
	"context"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

func (r *Runtime) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	return nil, holdfast.ErrUnsupported
}
func (r *Runtime) Attach(ctx context.Context, id string) (container.Exec, error) {
	return nil, holdfast.ErrUnsupported
}
