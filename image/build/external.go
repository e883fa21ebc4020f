package build

import (
	"context"

	"github.com/holdfast/holdfast"
)

func (b *builder) external(ctx context.Context, repo string, src holdfast.BuildSource) (Result, error) {
	return Result{}, ctx.Err()
}
