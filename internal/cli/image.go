package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Images of this node", Args: cobra.ArbitraryArgs, RunE: unknownCommand}
	build := a.imageBuildCommand()
	a.projectFlags(build)
	cmd.AddCommand(a.imageListCommand(), a.imagePullCommand(), a.imageImportCommand(), build, a.imageTagCommand(), a.imageRemoveCommand(), a.imagePruneCommand())
	return cmd
}

func (a *app) imageListCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the images", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			images, err := a.api().Images(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case a.json:
				return a.printJSON(images)
			case quiet:
				for _, i := range images {
					a.printf("%s\n", i.Name)
				}
				return nil
			}
			return a.imageTable(images).write(a.Stdout)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the names alone")
	return cmd
}

func (a *app) imageTable(images []api.Image) *table {
	t := newTable("IMAGE", "DIGEST", "SIZE", "AGE", "PLATFORM", "IN USE")
	for _, i := range images {
		inUse := "no"
		if i.InUse {
			inUse = "yes"
		}
		t.row(i.Name, shortDigest(i.Digest), size(i.SizeBytes), since(a.Now(), i.Created), i.Platform, inUse)
	}
	return t
}

func (a *app) imagePullCommand() *cobra.Command {
	var missing bool
	cmd := &cobra.Command{
		Use: "pull IMAGE...", Short: "Fetch images from their registries", Args: args(1, -1),
		Example: "  holdfast image pull nginx:1.27",
		RunE: func(cmd *cobra.Command, refs []string) error {
			policy := "always"
			if missing {
				policy = "missing"
			}
			screen := a.show("images")
			var images []api.Image
			for _, ref := range refs {
				img, err := a.pull(cmd.Context(), screen, ref, api.PullOptions{Policy: policy}, func(err error) error { return err })
				if err != nil {
					screen.close()
					return err
				}
				images = append(images, img)
			}
			screen.close()
			return a.printImages(images)
		},
	}
	cmd.Flags().BoolVar(&missing, "missing", false, "do not ask the registry for what is there")
	return cmd
}

func (a *app) printImages(images []api.Image) error {
	if a.json {
		return a.printJSON(images)
	}
	for _, i := range images {
		a.printf("%s\n", i.Pinned())
	}
	return nil
}

func (a *app) imageImportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE [IMAGE]", Short: "Take in a tar: docker save, OCI layout or a root file system", Args: args(1, 2),
		Long: "Reads a tar, plain or compressed, and names the image IMAGE, or as the tar says. FILE - is standard input.",
		Example: "  docker save nginx:1.27 | holdfast image import -\n" +
			"  holdfast image import rootfs.tar.gz tools:1",
		RunE: func(cmd *cobra.Command, given []string) error {
			ref := ""
			if len(given) > 1 {
				ref = given[1]
			}
			in := io.NopCloser(a.Stdin)
			if given[0] != "-" {
				f, err := os.Open(given[0])
				if err != nil {
					return usage("import: %s", err)
				}
				in = f
			}
			screen := a.show("images")
			change := screen.start("import " + given[0])
			img, err := a.sendImage(cmd.Context(), ref, false, in, change)
			screen.finish(change, size(img.SizeBytes), err)
			screen.close()
			if err != nil {
				return err
			}
			return a.printImages([]api.Image{img})
		},
	}
}

func (a *app) imageBuildCommand() *cobra.Command {
	var always bool
	cmd := &cobra.Command{
		Use: "build [SERVICE...]", Short: "Build the images of the Compose file that no registry has", Args: args(0, -1),
		RunE: func(cmd *cobra.Command, services []string) error {
			p, err := a.project(cmd.Context(), services)
			if err != nil {
				return err
			}
			if err := a.ensureAgent(cmd.Context()); err != nil {
				return err
			}
			return a.buildAll(cmd.Context(), p, upFlags{build: always})
		},
	}
	cmd.Flags().BoolVar(&always, "no-cache", false, "build even if the inputs did not change")
	return cmd
}

func (a *app) buildAll(ctx context.Context, p *Project, f upFlags) error {
	if len(p.Sources) == 0 {
		return holdfast.Errorf(holdfast.ErrNotFound, "no service of %s is built: all images come from registries", p.Name)
	}
	screen := a.show(p.Name)
	refs := map[string]string{}
	for _, service := range sortedKeys(p.Sources) {
		ref, err := a.buildImage(ctx, screen, service, p.Sources[service], f)
		if err != nil {
			screen.close()
			return err
		}
		refs[service] = ref
	}
	screen.close()
	if a.json {
		return a.printJSON(refs)
	}
	for _, service := range sortedKeys(refs) {
		a.printf("%s\n", refs[service])
	}
	return nil
}

func (a *app) imageTagCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tag IMAGE NAME", Short: "Give an image another name as well", Args: args(2, 2),
		ValidArgsFunction: a.complete(1, a.imageNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := a.api().Tag(cmd.Context(), given[0], given[1]); err != nil {
				return err
			}
			img, err := a.api().Image(cmd.Context(), given[1])
			if err != nil {
				return err
			}
			return a.printImages([]api.Image{img})
		},
	}
}

func (a *app) imageRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE...", Aliases: []string{"remove"}, Short: "Remove images; never one that a release in history needs",
		Args: args(1, -1), ValidArgsFunction: a.complete(-1, a.imageNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.removeEach(refs, func(ref string) error { return a.api().RemoveImage(cmd.Context(), ref) })
		},
	}
}

// removeEach removes names one by one and prints those that are gone.
func (a *app) removeEach(names []string, remove func(string) error) error {
	for i, n := range names {
		if err := remove(n); err != nil {
			if a.json && i > 0 {
				a.note("removed: %s", strings.Join(names[:i], ", "))
			}
			return err
		}
		if !a.json {
			a.printf("removed %s\n", n)
		}
	}
	if a.json {
		return a.printJSON(map[string][]string{"removed": names})
	}
	return nil
}

func (a *app) imagePruneCommand() *cobra.Command {
	return &cobra.Command{
		Use: "prune", Short: "Remove all images that no release in history needs", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.api().PruneImages(cmd.Context())
			return a.printPruned(p, "image", err)
		},
	}
}

func (a *app) printPruned(p api.Pruned, noun string, err error) error {
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	for _, n := range p.Removed {
		a.printf("removed %s\n", n)
	}
	a.printf("removed %s, %s freed\n", plural(len(p.Removed), noun), size(p.FreedBytes))
	return nil
}
