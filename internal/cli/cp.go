package cli

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
)

func (a *app) cpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cp SOURCE TARGET",
		Short: "Copy files into a replica or out of it",
		Long: "One side is REPLICA:PATH, where REPLICA may be SERVICE or SERVICE.SLOT too; the other is a path here, or - for a tar\n" +
			"on standard input or output. As with cp, a target that is a directory gets the source put into it.",
		Example: "  holdfast cp index.html web.1:/var/www/html/\n" +
			"  holdfast cp db:/var/lib/postgresql/data/postgresql.conf .\n" +
			"  holdfast cp web:/etc/nginx - | tar t",
		Args: args(2, 2),
		RunE: func(cmd *cobra.Command, given []string) error {
			from, to := parsePlace(given[0]), parsePlace(given[1])
			switch {
			case from.replica != "" && to.replica != "":
				return usage("copy from replica to replica: copy to a file here first, or pipe one into the other with -")
			case from.replica == "" && to.replica == "":
				return usage("neither %q nor %q is in a replica: want REPLICA:PATH on one side", given[0], given[1])
			case to.replica != "":
				return a.copyIn(cmd.Context(), from.path, to)
			}
			return a.copyOut(cmd.Context(), from, to.path)
		},
	}
}

// place is one side of a copy; replica is "" for here.
type place struct{ replica, path string }

// parsePlace reads REPLICA:PATH. A path here that has a colon is written with ./ or / before it.
func parsePlace(text string) place {
	before, after, ok := strings.Cut(text, ":")
	if !ok || before == "" || strings.ContainsAny(before, "/") {
		return place{path: text}
	}
	if !strings.HasPrefix(after, "/") {
		after = "/" + after
	}
	return place{before, after}
}

// copyOut copies from a replica. A target that is a directory, or that ends in a slash, gets the source put into it.
func (a *app) copyOut(ctx context.Context, from place, target string) error {
	r, err := a.resolve(ctx, from.replica)
	if err != nil {
		return err
	}
	in, err := a.api().CopyFrom(ctx, r.ID, from.path)
	if err != nil {
		return err
	}
	defer in.Close()
	if target == "-" {
		_, err := io.Copy(a.Stdout, in)
		return err
	}
	dir, name := target, ""
	if info, err := os.Stat(target); err != nil || !info.IsDir() {
		if strings.HasSuffix(target, "/") {
			return usage("%s is no directory here", target)
		}
		dir, name = path.Split(target)
	}
	return unpackTar(in, orDot(dir), name)
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// copyIn copies into a replica.
func (a *app) copyIn(ctx context.Context, source string, to place) error {
	r, err := a.resolve(ctx, to.replica)
	if err != nil {
		return err
	}
	if source == "-" {
		return a.api().CopyTo(ctx, r.ID, to.path, a.Stdin)
	}
	info, err := os.Lstat(source)
	if err != nil {
		return usage("copy: %s", err)
	}
	dir, name := to.path, info.Name()
	isDir, err := a.remoteDir(ctx, r.ID, to.path)
	if err != nil {
		return err
	}
	if !isDir {
		if strings.HasSuffix(to.path, "/") {
			return usage("%s is no directory in %s", to.path, r.ID)
		}
		dir, name = path.Split(to.path)
	}
	out, w := io.Pipe()
	go func() { w.CloseWithError(packTar(w, source, name)) }()
	return a.api().CopyTo(ctx, r.ID, dir, out)
}

// remoteDir reports whether path is a directory in the replica: the first entry of its tar tells.
func (a *app) remoteDir(ctx context.Context, replica, path string) (bool, error) {
	in, err := a.api().CopyFrom(ctx, replica, path)
	if errors.Is(err, holdfast.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer in.Close()
	h, err := tar.NewReader(in).Next()
	if err != nil {
		return false, holdfast.Errorf(holdfast.ErrUnavailable, "look at %s in %s: %w", path, replica, err)
	}
	return h.Typeflag == tar.TypeDir, nil
}
