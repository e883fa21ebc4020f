package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// fileMounts turns secrets and configs into Spec.Files and their content into files.
func (e *entry) fileMounts(files map[string]holdfast.File) {
	for i, s := range e.c.Secrets {
		e.fileMount(files, "secrets", i, types.FileReferenceConfig(s), secretDir)
	}
	for i, c := range e.c.Configs {
		e.fileMount(files, "configs", i, types.FileReferenceConfig(c), configDir)
	}
	seen := map[string]bool{}
	for _, f := range e.spec.Files {
		key := "configs"
		if f.Secret {
			key = "secrets"
		}
		if seen[f.Target] {
			e.badItem(at(key, 0), f.Target, "two secrets or configs are mounted at %s", f.Target)
		}
		seen[f.Target] = true
	}
}

func (e *entry) fileMount(files map[string]holdfast.File, key string, i int, ref types.FileReferenceConfig, dir string) {
	where := at(key, i)
	secret := key == "secrets"
	object, ok := e.fileObject(secret, ref.Source)
	if !ok {
		e.badItem(where, ref.Source, "%q is not declared under the top-level %s%s", ref.Source, key,
			didYouMean(ref.Source, e.fileNames(secret)))
		return
	}
	data, ok := e.content(keyPath{key, ref.Source}, object, secret)
	if !ok {
		return
	}
	sum := sha256.Sum256(data)
	file := holdfast.File{
		App: e.project.Name, Name: ref.Source, Secret: secret, Digest: "sha256:" + hex.EncodeToString(sum[:]), Data: data,
	}
	files[ref.Source+"\x00"+file.Digest] = file
	m := holdfast.FileMount{Name: ref.Source, Digest: file.Digest, Secret: secret, Mode: defaultFileMode, Target: ref.Target}
	if m.Target == "" {
		m.Target = ref.Source
	}
	if !strings.HasPrefix(m.Target, "/") {
		m.Target = dir + m.Target
	}
	m.Target = path.Clean(m.Target)
	m.UID, m.GID = e.id(append(where, "uid"), ref.UID), e.id(append(where, "gid"), ref.GID)
	if ref.Mode != nil {
		if *ref.Mode < 0 || *ref.Mode > 0o777 {
			e.bad(append(where, "mode"), "must be permission bits such as 0440 in octal")
		}
		m.Mode = uint32(*ref.Mode) & 0o777
	}
	e.spec.Files = append(e.spec.Files, m)
}

func (e *entry) id(where []any, text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		e.bad(where, "%q is not a number: names are not known outside the image", text)
	}
	return int(n)
}

func (l *loading) fileObject(secret bool, name string) (types.FileObjectConfig, bool) {
	if secret {
		o, ok := l.project.Secrets[name]
		return types.FileObjectConfig(o), ok
	}
	o, ok := l.project.Configs[name]
	return types.FileObjectConfig(o), ok
}

func (l *loading) fileNames(secret bool) []string {
	if secret {
		return sortedKeys(l.project.Secrets)
	}
	return sortedKeys(l.project.Configs)
}

// content reads what a secret or config holds.
func (l *loading) content(in keyPath, o types.FileObjectConfig, secret bool) ([]byte, bool) {
	limit, what := maxConfigBytes, "config"
	if secret {
		limit, what = maxSecretBytes, "secret"
	}
	data, key, err := l.contentBytes(o)
	switch {
	case bool(o.External):
		return nil, false // refused by key
	case err != nil:
		l.invalid(in.at(key), "", "%s: %s", what, err)
		return nil, false
	case len(data) > limit:
		l.invalid(in.at(key), "", "%s of %d bytes is too large: at most %d KiB; mount a volume for more", what, len(data), limit>>10)
		return nil, false
	}
	return data, true
}

func (l *loading) contentBytes(o types.FileObjectConfig) (data []byte, key string, err error) {
	switch {
	case bool(o.External):
		return nil, "external", nil
	case o.Environment != "":
		v, ok := l.env[o.Environment]
		if !ok {
			return nil, "environment", fmt.Errorf("environment variable %s is not set", o.Environment)
		}
		return []byte(v), "environment", nil
	case o.File != "":
		info, err := os.Stat(o.File)
		if err != nil {
			return nil, "file", fmt.Errorf("%s", missing("file", o.File, err))
		}
		if !info.Mode().IsRegular() {
			return nil, "file", fmt.Errorf("not a regular file: %s", displayName(o.File))
		}
		if info.Size() > 2*maxConfigBytes {
			return nil, "file", fmt.Errorf("%s is %d bytes: at most %d KiB; mount a volume for more", displayName(o.File), info.Size(), maxConfigBytes>>10)
		}
		data, err := os.ReadFile(o.File)
		return data, "file", err
	}
	return []byte(o.Content), "content", nil
}
