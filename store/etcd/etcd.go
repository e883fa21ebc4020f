// Package etcd is the durable store engine: an etcd member inside this process, on disk before it acknowledges, with
// no listener of any kind. May import store, the root package and libraries.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Config says where and how the member runs.
type Config struct {
	// Dir holds all its files. It is made when missing, and readable by its owner only.
	Dir string
	// Name of the member. Default: "holdfast". It must not change between starts.
	Name string
	// Log gets etcd's warnings and errors. Default: none.
	Log *slog.Logger
}

// Sizes that keep a member small. Segments of the log are allocated ahead: a full disk cannot tear an acknowledged write.
const (
	segmentBytes     = 8 << 20 // of the write-ahead log
	requestBytes     = 8 << 20 // largest commit
	quotaBytes       = 2 << 30 // largest database
	raftEntries      = 1000    // kept in memory before a snapshot
	raftCatchUp      = 500     // kept in memory after it
	compactEvery     = 4000    // revisions
	historyRevisions = 1000    // that a watch may start in the past
	defragMegabytes  = 16      // of free pages in the database file, at start
	startTimeout     = time.Minute
)

// peerURL names the member in the cluster's own list. Nothing listens there as long as the cluster has one member.
const peerURL = "http://127.0.0.1:2380"

// Engine is a running member. It implements store.KV.
type Engine struct {
	server *etcdserver.EtcdServer
	client *clientv3.Client
	disk   *disk
	fault  *fault

	compacted  atomic.Int64 // revision
	compacting atomic.Bool
	mu         sync.Mutex // orders spawn and Close
	work       sync.WaitGroup
	closing    context.Context
	close      context.CancelFunc
}

var segmentOnce sync.Once

// Start starts the member and returns when it can commit. Each Dir has at most one running member on the machine; a
// second Start fails with ErrConflict. The member runs until Close; ctx bounds the start alone.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Name == "" {
		cfg.Name = "holdfast"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	segmentOnce.Do(func() { wal.SegmentSizeBytes = segmentBytes })
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	e, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start state store in %s: %w", cfg.Dir, err)
	}
	return e, nil
}

func start(ctx context.Context, cfg Config) (*Engine, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	disk := newDisk(cfg.Dir)
	if err := disk.check(); err != nil {
		return nil, err
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	fault := newFault(cfg.Log)
	server, err := boot(ctx, serverConfig(cfg, fault.logger()), fault)
	if err != nil {
		unlock()
		return nil, err
	}
	e := &Engine{server: server, client: v3client.New(server), disk: disk, fault: fault}
	disk.unlock = unlock
	e.closing, e.close = context.WithCancel(context.Background())
	if err := e.ready(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// boot makes the server in a goroutine of its own, which a fatal error ends in place of the process.
func boot(ctx context.Context, cfg config.ServerConfig, fault *fault) (*etcdserver.EtcdServer, error) {
	type result struct {
		server *etcdserver.EtcdServer
		err    error
	}
	done := make(chan result, 1)
	go func() {
		server, err := etcdserver.NewServer(cfg)
		if err == nil {
			server.Start()
		}
		done <- result{server, err}
	}()
	select {
	case r := <-done:
		return r.server, r.err
	case <-fault.happened:
		return nil, fault.err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ready waits until the member leads its cluster and has applied its whole log.
func (e *Engine) ready(ctx context.Context) error {
	select {
	case <-e.server.ReadyNotify():
	case <-e.fault.happened:
		return e.fault.err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	resp, err := e.client.Get(ctx, "\x00")
	if err != nil {
		return fmt.Errorf("read revision: %w", err)
	}
	e.compacted.Store(max(0, resp.Header.Revision-compactEvery))
	return nil
}

func serverConfig(cfg Config, log *zap.Logger) config.ServerConfig {
	peers := types.MustNewURLs([]string{peerURL})
	return config.ServerConfig{
		Name:                cfg.Name,
		DataDir:             filepath.Join(cfg.Dir, "etcd"),
		PeerURLs:            peers,
		ClientURLs:          peers,
		InitialPeerURLsMap:  types.URLsMap{cfg.Name: peers},
		InitialClusterToken: "holdfast",
		NewCluster:          true,

		SnapshotCount:                     raftEntries,
		SnapshotCatchUpEntries:            raftCatchUp,
		MaxSnapFiles:                      2,
		MaxWALFiles:                       2,
		QuotaBackendBytes:                 quotaBytes,
		BackendBatchInterval:              time.Second, // of the database file; the log is on disk at once
		BackendBatchLimit:                 2000,
		BootstrapDefragThresholdMegabytes: defragMegabytes,
		MaxTxnOps:                         1 << 16,
		MaxRequestBytes:                   requestBytes,

		// Each tick wakes the process: few of them keep an idle node idle. A member alone leads after one election
		// timeout at most.
		TickMs:                     200,
		ElectionTicks:              4,
		InitialElectionTickAdvance: true,
		PreVote:                    true,
		StrictReconfigCheck:        true,

		WarningApplyDuration:        time.Second,
		WarningUnaryRequestDuration: time.Second,
		DowngradeCheckTime:          time.Hour,
		CompactHashCheckTime:        time.Hour,
		BcryptCost:                  10,
		MaxLearners:                 1,
		Metrics:                     "basic",
		V2Deprecation:               config.V2DeprDefault,
		ServerFeatureGate:           features.NewDefaultServerFeatureGate(cfg.Name, log),
		Logger:                      log,
	}
}

// Failed is closed when the member had to stop because its files can no longer be written or read. Only a new process
// can use them again.
func (e *Engine) Failed() <-chan struct{} { return e.fault.happened }

// Err says why Failed was closed.
func (e *Engine) Err() error { return e.fault.err() }

// Close implements store.KV: it stops the member. What was acknowledged is on disk already.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed := e.closing.Err() != nil
	e.close()
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.work.Wait()
	select {
	case <-e.fault.happened:
		return nil // its goroutines hold locks that are never given back
	default:
	}
	err := e.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	e.server.HardStop()
	e.disk.unlock()
	return err
}

// spawn runs f in a goroutine. Close waits for it, unless Close was called before.
func (e *Engine) spawn(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Err() == nil {
		e.work.Go(f)
	} else {
		go f()
	}
}

// usable returns ErrUnavailable when nothing can be asked of the member.
func (e *Engine) usable() error {
	select {
	case <-e.fault.happened:
		return holdfast.Errorf(holdfast.ErrUnavailable, "state store has stopped: %w", e.fault.err())
	case <-e.closing.Done():
		return holdfast.Errorf(holdfast.ErrUnavailable, "state store is closed")
	default:
		return nil
	}
}

var _ store.KV = (*Engine)(nil)
