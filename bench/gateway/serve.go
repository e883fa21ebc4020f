package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/pprof"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

// serve is the gateway as a process of its own, with one event loop and everything on: routing, balancing over four
// replicas, metrics, timeouts.
func serve(ctx context.Context, args []string) error {
	engine, port := args[0], args[1]
	st, err := store.Open(ctx, mem.New())
	if err != nil {
		return err
	}
	if err := st.Update(ctx, seed); err != nil {
		return err
	}
	gw, err := gateway.New(gateway.Config{
		State: st, NodeID: "n1", Listen: []string{"127.0.0.1:" + port}, Engine: engine, Loops: 1,
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if path := os.Getenv("CPUPROFILE"); path != "" {
		f, err := os.Create(path + "." + engine)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return gw.Run(ctx)
}

func seed(_ *store.Snapshot, tx *store.Tx) error {
	tx.Put(&holdfast.Service{App: "bench", Name: "web", Release: 1})
	tx.Put(&holdfast.Release{App: "bench", Service: "web", Number: 1, Spec: holdfast.Spec{
		Name: "web", Mode: holdfast.Replicated, Replicas: 4, Routes: []holdfast.Route{{Port: backendPort}, {PathPrefix: "/ws", Port: socketPort}},
	}})
	for i, ip := range backends() {
		id := fmt.Sprintf("bench-web-%d", i)
		tx.Put(&holdfast.Replica{
			ID: id, App: "bench", Service: "web", Release: 1, Slot: i + 1, Node: "n1", Desired: holdfast.Run,
			Addresses: map[string]netip.Addr{"default": netip.MustParseAddr(ip)},
		})
		tx.Put(&holdfast.Status{ID: id, Node: "n1", State: holdfast.Running, Ready: true})
	}
	return nil
}
