package api

import (
	"context"
	"syscall"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast/holdfast/store"
)

func (s *Server) routeReplicas() {
	const tag = "replicas"
	handle(s, operation("GET /v1/replicas", "list-replicas", tag, "List replicas, of all apps or of one"), s.replicas)
	handle(s, operation("GET /v1/replicas/{replica}", "get-replica", tag, "One replica"),
		func(_ context.Context, in *ReplicaPath) (ReplicaView, error) { return s.replica(in.Replica) })
	handle(s, operation("POST /v1/replicas/{replica}/signal", "signal-replica", tag,
		"Send a signal to a replica's first process; one that ends of it is replaced"), s.signal)
	handleRaw(s, operation("GET /v1/replicas/{replica}/files", "copy-from", tag, "A file or directory of a replica, as a tar"),
		s.response("Tar", tarType, nil), s.copyFrom)
	put := operation("PUT /v1/replicas/{replica}/files", "copy-to", tag, "Unpack a tar into a directory of a replica")
	put.RequestBody = bytesBody(tarType, "What to unpack")
	handleRaw(s, put, documented{204, "204", &huma.Response{Description: "Unpacked"}}, s.copyTo)
}

const tarType = "application/x-tar"

// ReplicaPath is the part of a path that names a replica.
type ReplicaPath struct {
	Replica string `path:"replica" maxLength:"255" doc:"ID of the replica"`
}

type replicasInput struct {
	App     string `query:"app" doc:"Only this app's"`
	Service string `query:"service" doc:"Only this service's"`
	Ended   bool   `query:"ended" doc:"Also those that ended"`
}

func (s *Server) replicas(_ context.Context, in *replicasInput) ([]ReplicaView, error) {
	return viewReplicas(s.cfg.State.Snapshot(), in.App, in.Service, in.Ended), nil
}

// replica reads one replica; a mistyped ID gets a hint.
func (s *Server) replica(id string) (ReplicaView, error) {
	return viewOneReplica(s.cfg.State.Snapshot(), id)
}

func viewOneReplica(snap *store.Snapshot, id string) (ReplicaView, error) {
	r, ok := snap.Replicas.Get(id)
	if !ok {
		return ReplicaView{}, notFound("replica", id, keysOf(snap.Replicas))
	}
	return viewReplica(snap, r), nil
}

type signalInput struct {
	ReplicaPath
	Body struct {
		Signal int `json:"signal" minimum:"1" maximum:"64" doc:"Number of the signal"`
	}
}

func (s *Server) signal(ctx context.Context, in *signalInput) (none, error) {
	if _, err := s.replica(in.Replica); err != nil {
		return none{}, err
	}
	return none{}, s.cfg.Processes.Signal(ctx, in.Replica, syscall.Signal(in.Body.Signal))
}

type copyInput struct {
	ReplicaPath
	Path string `query:"path" required:"true" doc:"Absolute path in the replica"`
}

func (s *Server) copyFrom(_ context.Context, in *copyInput) (*huma.StreamResponse, error) {
	if _, err := s.replica(in.Replica); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		out := &tarWriter{w: w}
		out.finish(s.cfg.Copier.CopyFrom(hctx.Context(), in.Replica, in.Path, out))
	}}, nil
}

func (s *Server) copyTo(_ context.Context, in *copyInput) (*huma.StreamResponse, error) {
	if _, err := s.replica(in.Replica); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		if err := s.cfg.Copier.CopyTo(hctx.Context(), in.Replica, in.Path, r.Body); err != nil {
			writeProblem(w, err)
			return
		}
		w.WriteHeader(204)
	}}, nil
}
