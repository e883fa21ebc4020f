package image

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
)

func importFS(t testing.TB, s *Store, ref string, seed uint64) Image {
	t.Helper()
	img, err := s.Import(t.Context(), bytes.NewReader(randomLayer(t, seed, 50000)), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func keepNone(string, string) bool { return false }

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	for _, plain := range []bool{false, true} {
		now := time.Now()
		s := openStore(t, t.TempDir(), Options{PlainDirs: plain, Now: func() time.Time { return now }})
		release := importFS(t, s, "release:1", 1)
		importFS(t, s, "gone:1", 2)
		held := importFS(t, s, "held:1", 3)
		replaced := importFS(t, s, "moved:1", 4)
		importFS(t, s, "moved:1", 5)
		unhold := s.Hold(held.Digest)
		now = now.Add(2 * time.Hour)
		keep := func(ref, digest string) bool { return digest == release.Digest || digest == replaced.Digest }
		out, err := s.Prune(t.Context(), keep)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(out.Images, []string{"docker.io/library/gone:1", "docker.io/library/moved:1"}) || out.Bytes < 200000 {
			t.Errorf("pruned %+v", out)
		}
		for _, ref := range []string{"release:1", "held:1", "moved@" + replaced.Digest} {
			img, err := s.Get(t.Context(), ref)
			if err != nil {
				t.Fatalf("%s: %v", ref, err)
			}
			for _, l := range img.Layers {
				if !s.hasBlob(l.Digest) {
					t.Errorf("%s has lost layer %s", ref, l.Digest)
				}
			}
		}
		unhold()
		if _, err := s.Prune(t.Context(), keepNone); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{blobDir, rootfsDir, tmpDir} {
			if n := used(t, s.path(dir)); n != 0 {
				t.Errorf("plain %v: %d bytes stay in %s", plain, n, dir)
			}
		}
	}
}

func TestFreshContentIsNotCollected(t *testing.T) {
	now := time.Now()
	s := openStore(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	digest, err := s.putBytes(t.Context(), []byte("pushed, not named yet"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.partialPath(digestOf(nil)), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	prune := func(after time.Duration) {
		t.Helper()
		now = now.Add(after)
		if _, err := s.Prune(t.Context(), keepNone); err != nil {
			t.Fatal(err)
		}
	}
	prune(30 * time.Minute)
	if !s.hasBlob(digest) {
		t.Error("content of a push under way was collected")
	}
	prune(31 * time.Minute)
	if s.hasBlob(digest) {
		t.Error("abandoned content stays")
	}
	if _, err := os.Stat(s.partialPath(digestOf(nil))); err != nil {
		t.Error("an interrupted download of an hour ago was collected")
	}
	prune(24 * time.Hour)
	if _, err := os.Stat(s.partialPath(digestOf(nil))); err == nil {
		t.Error("an interrupted download of yesterday stays")
	}
}

// TestPruneDuringPulls prunes all the time while images are pulled: each that Pull returned and that is held must be
// whole.
func TestPruneDuringPulls(t *testing.T) {
	host := startRegistry(t)
	shared := randomLayer(t, 99, 20000)
	refs := make([]string, 4)
	for i := range refs {
		refs[i] = host + "/app:" + string(rune('a'+i))
		push(t, refs[i], imageOf(t, shared, randomLayer(t, uint64(i), 20000)))
	}
	s := openStore(t, t.TempDir(), Options{Grace: time.Nanosecond})
	stop := make(chan struct{})
	var pruning sync.WaitGroup
	pruning.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := s.Prune(t.Context(), keepNone); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	var pulls sync.WaitGroup
	for _, ref := range refs {
		digest := digestFor(t, ref)
		pulls.Go(func() {
			for range 15 {
				release := s.Hold(digest)
				img, err := s.Pull(t.Context(), ref, PullOptions{})
				if err != nil {
					t.Errorf("pull: %v", err)
				} else if len(readFile(t, img, "data99")) != 20000 {
					t.Error("content is wrong")
				}
				release()
			}
		})
	}
	pulls.Wait()
	close(stop)
	pruning.Wait()
}

func digestFor(t *testing.T, ref string) string {
	t.Helper()
	s := openStore(t, t.TempDir(), Options{})
	img, err := s.Pull(t.Context(), ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img.Digest
}

func TestRemoveAndTag(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	img := importFS(t, s, "a:1", 1)
	if err := s.Tag(t.Context(), "a:1", "b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), "none", "b"); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("tag of none: %v", err)
	}
	if err := s.Tag(t.Context(), "a:1", "b@"+img.Digest); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("tag with digest: %v", err)
	}
	if err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "a:1"); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("remove twice: %v", err)
	}
	if got, err := s.Get(t.Context(), "b:latest"); err != nil || got.Digest != img.Digest {
		t.Errorf("by its other name: %v", err)
	}
	release := s.Hold(img.Digest)
	if err := s.Remove(t.Context(), "b@"+img.Digest); !errors.Is(err, holdfast.ErrConflict) {
		t.Errorf("remove while held: %v", err)
	}
	release()
	if err := s.Remove(t.Context(), "b@"+img.Digest); err != nil {
		t.Error(err)
	}
	if images, err := s.List(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("images: %v, %v", images, err)
	}
}

// TestOtherFormIsMadeAgain opens a store of EROFS files where only directories can be used, as after a kernel downgrade.
func TestOtherFormIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	importFS(t, s, "a:1", 1)
	s.Close()
	s = openStore(t, dir, Options{PlainDirs: true})
	img, err := s.Get(t.Context(), "a:1")
	if err != nil || len(img.Dirs) != 1 || len(readFile(t, img, "data1")) != 50000 {
		t.Errorf("image: %+v, %v", img, err)
	}
}

func TestStoreIsOpenOnce(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, holdfast.ErrConflict) {
		t.Errorf("second open: %v", err)
	}
}

func TestParseRef(t *testing.T) {
	d := digestOf(nil)
	for text, want := range map[string]string{
		"nginx":                     "docker.io/library/nginx:latest",
		"a/b:c":                     "docker.io/a/b:c",
		"localhost:5000/x":          "localhost:5000/x:latest",
		"ghcr.io/a/b/c:1@" + d:      "ghcr.io/a/b/c:1@" + d,
		"nginx@" + d:                "docker.io/library/nginx@" + d,
		"holdfast.local/app/svc:00": "holdfast.local/app/svc:00",
	} {
		ref, err := ParseRef(text)
		if err != nil || ref.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, ref, err, want)
		}
		again, err := ParseRef(ref.String())
		if err != nil || again != ref {
			t.Errorf("%s does not parse back: %v", ref, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"nginx", "a/b:c", "localhost:5000/x@" + digestOf(nil)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseRef(text)
		if err != nil {
			return
		}
		again, err := ParseRef(ref.String())
		if err != nil || again != ref || strings.Contains(ref.Repo, "..") {
			t.Errorf("%q is %+v, which parses as %+v, %v", text, ref, again, err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"` + digestOf(nil) + `","size":1},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"` + digestOf(nil) + `","size":1,"platform":{"os":"linux"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data, "")
		if err != nil {
			return
		}
		if (m.image == nil) == (m.index == nil) {
			t.Errorf("%q is both or neither", data)
		}
		if m.image != nil {
			for _, l := range layersOf(m.image) {
				if checkDigest(l.Digest) != nil || l.Size < 0 {
					t.Errorf("%q has layer %+v", data, l)
				}
			}
		}
	})
}
