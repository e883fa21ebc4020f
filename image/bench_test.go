package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// serverTar is like the root file system of a Debian server: 6000 files, 140 MB, half of it text.
func serverTar(b *testing.B) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	var entries []tarEntry
	for i := range 6000 {
		size := int(rng.ExpFloat64() * 23000)
		data := make([]byte, size)
		for j := range data {
			if i%2 == 0 {
				data[j] = byte(rng.Uint32())
			} else {
				data[j] = "the quick brown fox "[rng.IntN(20)]
			}
		}
		entries = append(entries, entry(fmt.Sprintf("usr/share/%d/%d", i/50, i), tar.TypeReg, string(data)))
	}
	return makeTar(b, entries...)
}

// BenchmarkUnpack imports a layer, less the hashing and storing of its blob: what a pull does while it downloads.
func BenchmarkUnpack(b *testing.B) {
	data := serverTar(b)
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		b.Fatal(err)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(data)
	w.Close()
	for name, blob := range map[string][]byte{"tar": data, "gzip": gz.Bytes(), "zstd": zw.EncodeAll(data, nil)} {
		for _, plain := range []bool{false, true} {
			form := "erofs"
			if plain {
				form = "dirs"
			}
			b.Run(name+"/"+form, func(b *testing.B) { benchmarkUnpack(b, data, blob, plain) })
		}
	}
}

func benchmarkUnpack(b *testing.B, data, blob []byte, plain bool) {
	s := openStore(b, b.TempDir(), Options{PlainDirs: plain})
	digest, err := s.putBytes(b.Context(), blob)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		u := unpacking{layers: []Layer{{Digest: digest, Size: int64(len(blob))}}, diffIDs: []v1.Hash{mustHash(digestOf(data))}, report: &reporter{}}
		u.ready = allReady
		if _, _, err := s.unpack(b.Context(), u); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := s.sweep(); err != nil {
			b.Fatal(err)
		}
		if _, err := s.putBytes(b.Context(), blob); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
