package api

import (
	"context"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

func (s *Server) routeImages() {
	const tag = "images"
	handle(s, operation("GET /v1/images", "list-images", tag, "List the node's images"),
		func(ctx context.Context, _ *struct{}) ([]Image, error) { return notNil(s.cfg.Images.List(ctx)) })
	handle(s, operation("GET /v1/images/inspect", "get-image", tag, "One image"),
		func(ctx context.Context, in *imageInput) (Image, error) { return s.cfg.Images.Get(ctx, in.Ref) })
	handleStream(s, operation("POST /v1/images/pull", "pull-image", tag, "Pull an image; the last line has it"), s.pull)
	load := operation("POST /v1/images/import", "import-image", tag, "Import an image from a tar")
	load.RequestBody = bytesBody(tarType, "docker save, OCI layout or root file system")
	handleRaw(s, load, s.response("The image", "application/json", reflect.TypeFor[Image]()), s.importImage)
	handle(s, operation("POST /v1/images/tag", "tag-image", tag, "Give an image another name as well"),
		func(ctx context.Context, in *tagInput) (none, error) {
			return none{}, s.cfg.Images.Tag(ctx, in.Body.Ref, in.Body.Name)
		})
	handle(s, operation("DELETE /v1/images", "remove-image", tag, "Remove an image's name, and what nothing else needs"),
		func(ctx context.Context, in *imageInput) (none, error) {
			return none{}, s.cfg.Images.Remove(ctx, in.Ref)
		})
	handle(s, operation("POST /v1/images/prune", "prune-images", tag, "Remove images that no release in history needs"),
		func(ctx context.Context, _ *struct{}) (Pruned, error) { return s.cfg.Images.Prune(ctx) })
}

type imageInput struct {
	Ref string `query:"ref" required:"true" minLength:"1" doc:"Reference of the image"`
}

type pullInput struct {
	Body struct {
		Ref string `json:"ref" minLength:"1"`
		PullOptions
	}
}

type tagInput struct {
	Body struct {
		Ref  string `json:"ref" minLength:"1"`
		Name string `json:"name" minLength:"1" doc:"Name that the image gets as well; what had it loses it"`
	}
}

func (s *Server) pull(ctx context.Context, in *pullInput, emit func(PullProgress) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	img, err := s.cfg.Images.Pull(ctx, in.Body.Ref, in.Body.PullOptions, func(p PullProgress) {
		if err := emit(p); err != nil {
			cancel(err) // the caller left: nobody waits for the image
		}
	})
	if err != nil {
		return err
	}
	return emit(PullProgress{Ref: in.Body.Ref, Phase: "done", Image: &img})
}

type importInput struct {
	Ref  string `query:"ref" doc:"Name to give it; default: what the tar says"`
	Hold bool   `query:"hold" doc:"Keep it from being removed until a release names it, ten minutes at most"`
}

func (s *Server) importImage(_ context.Context, in *importInput) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		img, err := s.cfg.Images.Import(hctx.Context(), in.Ref, in.Hold, r.Body)
		if err != nil {
			writeProblem(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = huma.DefaultJSONFormat.Marshal(w, img)
	}}, nil
}

// notNil makes an empty list of none, so that it reads [] on the wire.
func notNil[T any](list []T, err error) ([]T, error) {
	if list == nil {
		list = []T{}
	}
	return list, err
}
