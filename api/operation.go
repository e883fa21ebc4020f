package api

import (
	"context"
	"net/http"
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// maxBody bounds a JSON body: a deployment with the content of its secrets and configs.
const maxBody = 64 << 20

// operation is one route: "GET /v1/apps", with the name that clients are generated with and one line of what it does.
func operation(route, id, tag, summary string) huma.Operation {
	method, pattern, _ := strings.Cut(route, " ")
	return huma.Operation{
		Method:       method,
		Path:         pattern,
		OperationID:  id,
		Summary:      summary,
		Tags:         []string{tag},
		MaxBodyBytes: maxBody,
		// No deadline of the body's may outlive it: streams and upgraded connections go on for as long as they go.
		BodyReadTimeout: -1,
	}
}

// handle registers a route whose answer is one JSON document.
func handle[I, O any](s *Server, op huma.Operation, h func(ctx context.Context, in *I) (O, error)) {
	op.Errors = []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable, http.StatusNotImplemented}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*body[O], error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problem(err)
		}
		return &body[O]{Body: out}, nil
	})
}

type body[T any] struct{ Body T }

// none is the answer of an operation that has nothing to tell.
type none struct{}

// handleStream registers a route whose answer is lines of T.
func handleStream[I, T any](s *Server, op huma.Operation, h func(ctx context.Context, in *I, emit func(T) error) error) {
	handleRaw(s, op, s.response("Lines of JSON", ndjson, reflect.TypeFor[T]()), func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return streamOf(func(ctx context.Context, emit func(T) error) error { return h(ctx, in, emit) }), nil
	})
}

// handleRaw registers a route that writes its answer by itself, documented as answer under its status.
func handleRaw[I any](s *Server, op huma.Operation, answer documented, h func(ctx context.Context, in *I) (*huma.StreamResponse, error)) {
	op.Errors = []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable, http.StatusNotImplemented}
	op.Responses = map[string]*huma.Response{answer.status: answer.response}
	op.DefaultStatus = answer.code
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problem(err)
		}
		return out, nil
	})
}

// documented is an answer as the document shows it.
type documented struct {
	code     int
	status   string
	response *huma.Response
}

// response documents an answer of 200 with one content type. A nil t is bytes.
func (s *Server) response(description, contentType string, t reflect.Type) documented {
	schema := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	if t != nil {
		schema = s.api.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
	}
	return documented{http.StatusOK, "200", &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{contentType: {Schema: schema}},
	}}
}

// upgrade documents an answer of 101.
func upgrade(protocol, description string) documented {
	return documented{http.StatusSwitchingProtocols, "101", &huma.Response{
		Description: description,
		Headers: map[string]*huma.Param{
			"Upgrade": {Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{protocol}}},
		},
	}}
}

// bytesBody documents a request body that is a stream of bytes of one content type.
func bytesBody(contentType, description string) *huma.RequestBody {
	return &huma.RequestBody{
		Description: description,
		Required:    true,
		Content:     map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}
}

// schemaName names a type in the document: the root package's and ours by their name, others with their package's
// name before it, for container.Status and holdfast.Status are two.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	pkg := path.Base(t.PkgPath())
	if t.Name() == "" || pkg == "holdfast" || pkg == "api" || pkg == "huma" || pkg == "v2" || pkg == "." {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}
