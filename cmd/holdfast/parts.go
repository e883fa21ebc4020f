package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/compose"
	"github.com/holdfast/holdfast/container/supervisor"
	"github.com/holdfast/holdfast/daemon"
	"github.com/holdfast/holdfast/image"
	"github.com/holdfast/holdfast/image/build"
	"github.com/holdfast/holdfast/internal/cli"
)

// load is the CLI's way to package compose.
func load(ctx context.Context, opt cli.LoadOptions) (*cli.Project, error) {
	p, err := compose.Load(ctx, compose.Options{
		Files: opt.Files, ProjectName: opt.ProjectName, ProjectDir: opt.ProjectDir, EnvFiles: opt.EnvFiles,
		Profiles: opt.Profiles, Services: opt.Services, Env: os.Environ(),
	})
	if err != nil {
		return nil, err
	}
	project := &cli.Project{
		Name: p.Name, Deployment: p.Deployment, Sources: p.Sources,
		Text: func() ([]byte, error) { return compose.Resolved(p) },
		JSON: func() ([]byte, error) { return compose.ResolvedJSON(p) },
	}
	for _, n := range p.Notes {
		project.Notes = append(project.Notes, n.String())
	}
	return project, nil
}

// buildImage is the CLI's way to package image/build.
func buildImage(ctx context.Context, src holdfast.ImageSource, b cli.BuildOptions) (cli.Built, error) {
	cache, err := cacheDir()
	if err != nil {
		return cli.Built{}, err
	}
	var asking error
	built, err := build.Build(ctx, src, build.Options{
		CacheDir: cache, Rebuild: b.Always,
		Progress: func(p image.Progress) {
			if b.Progress != nil && p.Text != "" {
				b.Progress(p.Text)
			}
		},
		Has: func(ref string) bool {
			if b.Have == nil {
				return false
			}
			has, err := b.Have(ctx, ref)
			if err != nil {
				asking = err
			}
			return has
		},
	})
	if err == nil && asking != nil {
		err = asking
	}
	if err != nil || built.Path == "" {
		return cli.Built{Ref: built.Ref}, err
	}
	tar, err := os.Open(built.Path)
	if err != nil {
		return cli.Built{}, fmt.Errorf("open built image: %w", err)
	}
	return cli.Built{Ref: built.Ref, Tar: tar}, nil
}

// credentials reads the user's Docker configuration.
func credentials(ctx context.Context, ref string) (api.RegistryAuth, error) {
	auth, err := image.Credentials(ctx, ref)
	return api.RegistryAuth(auth), err
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(daemon.DefaultDataDir, "cache"), nil // no home: a system service
	}
	return filepath.Join(base, "holdfast"), nil
}

func config(o cli.AgentOptions) daemon.Config {
	return daemon.Config{
		DataDir: o.DataDir, RunDir: o.RunDir, NodeName: o.NodeName, Labels: o.Labels, HTTP: o.HTTP, HTTPS: o.HTTPS,
		ACME: daemon.ACME{Email: o.ACMEEmail, URL: o.ACMEURL, CA: o.ACMECA}, Registry: o.Registry,
		CgroupParent: o.CgroupParent, Resolvers: o.Resolvers, AccessLog: o.AccessLog, HoldFor: o.HoldFor,
		PoolMin: o.PoolMin, PoolMax: o.PoolMax, Log: o.Log,
	}
}

func runAgent(ctx context.Context, o cli.AgentOptions) error { return daemon.Run(ctx, config(o)) }

func runGateway(ctx context.Context, o cli.AgentOptions) error {
	return daemon.RunGateway(ctx, config(o))
}

func runSupervisor(ctx context.Context, args []string) error { return supervisor.Run(ctx, args) }
