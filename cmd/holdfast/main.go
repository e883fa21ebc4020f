// Command holdfast runs servers: a Compose file in, real servers out, nothing dropped.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast/holdfast/daemon"
	"github.com/holdfast/holdfast/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(cli.Main(ctx, env(), os.Args[1:]))
}

func env() cli.Env {
	return cli.Env{
		Stdin:       os.Stdin,
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
		Getenv:      os.Getenv,
		Now:         time.Now,
		Version:     daemon.Version,
		Load:        load,
		Build:       buildImage,
		Credentials: credentials,
		Spawn:       cli.SpawnSelf,
		Agent:       runAgent,
		Gateway:     runGateway,
		Supervisor:  runSupervisor,
	}
}
