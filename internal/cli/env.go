package cli

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// Env is what a command gets from its process, and the parts of the program that it starts or calls.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Now    func() time.Time

	// Load reads the Compose files.
	Load func(ctx context.Context, opt LoadOptions) (*Project, error)
	// Build makes an image of src and returns its reference and a tar to import; nil tar when there is one already.
	Build func(ctx context.Context, src holdfast.ImageSource, b BuildOptions) (Built, error)
	// Credentials are what the user's Docker configuration holds for ref's registry; nil: none.
	Credentials func(ctx context.Context, ref string) (api.RegistryAuth, error)
	// Agent runs the agent in this process until ctx ends.
	Agent func(ctx context.Context, opt AgentOptions) error
	// Gateway runs the gateway in this process until ctx ends.
	Gateway func(ctx context.Context, opt AgentOptions) error
	// Supervisor runs the parent of all containers in this process until ctx ends.
	Supervisor func(ctx context.Context, args []string) error
	// Spawn starts this program again, detached, with args, its output going to logFile. It returns how to learn of
	// its end.
	Spawn func(args []string, logFile string) (Spawned, error)
	// UnitPath is where the systemd unit is installed; default /etc/systemd/system/holdfast.service.
	UnitPath string
	// Version of the program.
	Version string
}

// LoadOptions say which Compose files to read, and how.
type LoadOptions struct {
	Files       []string
	ProjectName string
	ProjectDir  string
	EnvFiles    []string
	Profiles    []string
	Services    []string
}

// Project is a loaded app.
type Project struct {
	Name       string
	Deployment holdfast.Deployment
	Sources    map[string]holdfast.ImageSource // by service
	Notes      []string                        // what the reader of the files should know
	// Text is the resolved model with defaults and kinds, for people; JSON the same for programs. Neither holds the
	// content of a secret.
	Text, JSON func() ([]byte, error)
}

// BuildOptions of one image.
type BuildOptions struct {
	// Have reports whether the agent holds ref already, so that it need not be built.
	Have func(ctx context.Context, ref string) (bool, error)
	// Always builds even what is there.
	Always bool
	// Progress takes lines of the builder's output.
	Progress func(line string)
}

// Built is an image made from a source.
type Built struct {
	Ref string        // with its tag
	Tar io.ReadCloser // to import; nil when the agent has it
}

// Spawned is a process that was started detached.
type Spawned struct {
	PID  int
	Done <-chan error // gets its end
}

// isTerminal reports whether s is a terminal.
func isTerminal(s any) bool {
	f, ok := s.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
