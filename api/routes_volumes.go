package api

import "context"

func (s *Server) routeVolumes() {
	const tag = "volumes"
	handle(s, operation("GET /v1/volumes", "list-volumes", tag, "List the node's volumes"),
		func(ctx context.Context, _ *struct{}) ([]VolumeInfo, error) { return notNil(s.cfg.Volumes.List(ctx)) })
	handle(s, operation("GET /v1/volumes/{volume}", "get-volume", tag, "One volume"),
		func(ctx context.Context, in *volumeInput) (VolumeInfo, error) {
			return s.cfg.Volumes.Get(ctx, in.Volume)
		})
	handle(s, operation("DELETE /v1/volumes/{volume}", "remove-volume", tag, "Delete a volume and its data"),
		func(ctx context.Context, in *volumeInput) (none, error) {
			return none{}, s.cfg.Volumes.Remove(ctx, in.Volume)
		})
	handle(s, operation("POST /v1/volumes/prune", "prune-volumes", tag, "Delete the volumes that no app names"),
		func(ctx context.Context, _ *struct{}) (Pruned, error) { return s.cfg.Volumes.Prune(ctx) })
}

type volumeInput struct {
	Volume string `path:"volume" maxLength:"255" doc:"Name of the volume"`
}
