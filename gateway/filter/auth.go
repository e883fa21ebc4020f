package filter

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/holdfast/holdfast"
)

const (
	// maxVerified bounds how many right passwords are remembered.
	maxVerified = 4096
	// maxHashing bounds how many passwords are hashed at the same time, over all routes: bcrypt is slow by intent.
	maxHashing = 2
)

var hashing = make(chan struct{}, maxHashing)

// users checks names and passwords. Right ones are remembered by a keyed digest, so that each is hashed once.
type users struct {
	realm  string
	hashes map[string]string
	dummy  string // hash that unknown names are checked against: the time must not tell
	key    []byte

	mu       sync.Mutex
	verified map[[sha256.Size]byte]struct{}
}

func basicAuth(r *holdfast.Route, opt Options) (layer, error) {
	if r.BasicAuth == nil {
		return nil, nil
	}
	data, ok := opt.File(r.BasicAuth.Users)
	if !ok {
		return nil, fmt.Errorf("the content of %s is missing", r.BasicAuth.Users.Name)
	}
	hashes, err := ParseUsers(data)
	if err != nil {
		return nil, err
	}
	u := &users{realm: r.BasicAuth.Realm, hashes: hashes, verified: map[[sha256.Size]byte]struct{}{}, key: make([]byte, 32)}
	for _, u.dummy = range hashes {
		if strings.HasPrefix(u.dummy, "$2") {
			break
		}
	}
	_, _ = rand.Read(u.key)
	return u, nil
}

const shaPrefix = "{SHA256}"

// ParseUsers reads lines of "name:hash"; empty ones and those that begin with # are passed over.
func ParseUsers(data []byte) (map[string]string, error) {
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" || !validHash(hash) {
			return nil, fmt.Errorf("line %d is not name:hash with a hash of bcrypt or {SHA256}", n)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("line %d names a user twice", n)
		}
		out[name] = hash
	}
	if lines.Err() != nil {
		return nil, fmt.Errorf("read users: %w", lines.Err())
	}
	if len(out) == 0 {
		return nil, errors.New("it names no user")
	}
	return out, nil
}

func validHash(hash string) bool {
	if digest, ok := strings.CutPrefix(hash, shaPrefix); ok {
		b, err := hex.DecodeString(digest)
		return err == nil && len(b) == sha256.Size
	}
	cost, err := bcrypt.Cost([]byte(hash))
	return err == nil && cost <= 14
}

func (u *users) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	name, password, ok := r.BasicAuth()
	if !ok || !u.check(r.Context(), name, password) {
		w.Header().Set("WWW-Authenticate", "Basic realm="+strconv.Quote(u.realm)+`, charset="UTF-8"`)
		answer(w, http.StatusUnauthorized, "a name and password are needed here")
		return
	}
	r.Header.Del("Authorization")
	r.Header.Set("X-Forwarded-User", name)
	next.ServeHTTP(w, r)
}

func (u *users) check(ctx context.Context, name, password string) bool {
	mac := hmac.New(sha256.New, u.key)
	fmt.Fprintf(mac, "%d:%s%s", len(name), name, password)
	digest := [sha256.Size]byte(mac.Sum(nil))
	u.mu.Lock()
	_, known := u.verified[digest]
	u.mu.Unlock()
	if known {
		return true
	}
	hash, there := u.hashes[name]
	if !there {
		hash = u.dummy
	}
	if !verify(ctx, hash, password) || !there {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.verified) >= maxVerified {
		clear(u.verified)
	}
	u.verified[digest] = struct{}{}
	return true
}

// verify compares in constant time. It gives up when ctx ends before its turn comes.
func verify(ctx context.Context, hash, password string) bool {
	if digest, ok := strings.CutPrefix(hash, shaPrefix); ok {
		sum := sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(strings.ToLower(digest))) == 1
	}
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
	case <-ctx.Done():
		return false
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}
