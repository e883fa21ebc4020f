//go:build linux

package linux

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
	"github.com/holdfast/holdfast/container/logs"
	"github.com/holdfast/holdfast/internal/instant"
)

// BenchmarkStart measures from the call of Start, in a parked sandbox, to the first instruction of a static program
// that reads the monotonic clock, with the default seccomp profile and no network: p50-ms, p90-ms and p99-ms.
// returned-p50-ms is when Start returned.
func BenchmarkStart(b *testing.B) {
	for _, bb := range []struct {
		name string
		opt  container.ParkOptions
		dirs bool
	}{
		{"erofs", container.ParkOptions{}, false},
		{"dirs", container.ParkOptions{}, true},
		{"erofs-hostuserns", container.ParkOptions{HostUserNS: true}, false},
	} {
		b.Run(bb.name, func(b *testing.B) { benchmarkStart(b, bb.opt, bb.dirs) })
	}
}

func benchmarkStart(b *testing.B, opt container.ParkOptions, dirs bool) {
	bench := newBench(b, dirs)
	var first, returned []time.Duration
	for i := range b.N {
		b.StopTimer()
		spec := bench.spec(b, opt, i)
		b.StartTimer()
		began := monotonic()
		if _, err := bench.r.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		returned = append(returned, monotonic()-began)
		b.StopTimer()
		first = append(first, bench.first(b, spec.ID)-began)
		if err := bench.r.Remove(context.Background(), spec.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	report(b, first, "p50-ms", 50)
	report(b, first, "p90-ms", 90)
	report(b, first, "p99-ms", 99)
	report(b, returned, "returned-p50-ms", 50)
}

// BenchmarkChurn measures containers a second from Park to the end of Remove, with four at a time.
func BenchmarkChurn(b *testing.B) {
	bench := newBench(b, false)
	const workers = 4
	next := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range next {
				spec := bench.spec(b, container.ParkOptions{}, i)
				if _, err := bench.r.Start(b.Context(), spec); err != nil {
					b.Error(err)
					continue
				}
				bench.first(b, spec.ID)
				if err := bench.r.Remove(context.Background(), spec.ID); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for i := range b.N {
		next <- i
	}
	close(next)
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "containers/s")
}

// bench is a runtime and an image with one program.
type bench struct {
	r      *Runtime
	rootfs container.Rootfs
	image  containertest.Image
}

func newBench(b *testing.B, dirs bool) *bench {
	b.Helper()
	if runtime.GOARCH != "amd64" {
		b.Skip("the measured program is machine code of amd64")
	}
	dir := filepath.Join(b.TempDir(), "image")
	for _, d := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "instant"), instant.Program(), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	x := &bench{r: open(b, b.TempDir()), rootfs: container.Rootfs{Dirs: []string{dir}}}
	b.Cleanup(func() { x.r.Close() })
	if !dirs {
		x.rootfs = container.Rootfs{EROFS: makeEROFS(b, dir)}
	}
	return x
}

func (x *bench) spec(b *testing.B, opt container.ParkOptions, i int) container.Spec {
	sandbox, err := x.r.Park(b.Context(), opt)
	if err != nil {
		b.Fatal(err)
	}
	oci := x.image.Config(b)
	oci.Process.Args = []string{"/instant"}
	id := fmt.Sprintf("bench-%d", i)
	return container.Spec{
		ID: id, Sandbox: sandbox.ID, OCI: oci, Rootfs: x.rootfs,
		Log: container.Log{Path: filepath.Join(x.r.cfg.Dir, id+".log")},
	}
}

// first waits for the container's end and returns what its program printed: the clock at its first instruction.
func (x *bench) first(b *testing.B, id string) time.Duration {
	c, err := x.r.find(id)
	if err != nil {
		b.Fatal(err)
	}
	<-c.done
	if s := c.status(); s.ExitCode != 0 {
		b.Fatalf("%+v", s)
	}
	for e, err := range logs.Read(b.Context(), filepath.Join(x.r.cfg.Dir, id+".log"), logs.Options{Tail: -1}) {
		if err != nil {
			b.Fatal(err)
		}
		if len(e.Text) == instant.Len {
			return instant.Parse(e.Text)
		}
	}
	b.Fatalf("container %s printed nothing", id)
	return 0
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func report(b *testing.B, list []time.Duration, unit string, percent int) {
	slices.Sort(list)
	b.ReportMetric(float64(list[(len(list)-1)*percent/100])/1e6, unit)
}
