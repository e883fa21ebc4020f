package build

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

var localRegistry = regexp.MustCompile(`\b(localhost|127\.\d+\.\d+\.\d+)(:\d+)?/`)

// buildahSteps builds in a chroot, which works in containers and for users that may do little, and with storage of our
// own, so that nothing of it shows in the user's.
func buildahSteps(j job) [][]string {
	global := []string{
		"--root", filepath.Join(j.state, "buildah"), "--runroot", filepath.Join(j.state, "buildah-run"),
	}
	args := append(slices.Clone(global), "build", "--isolation", "chroot", "--format", "docker", "--layers", "--force-rm", "--tag", j.name)
	args = append(args, fmt.Sprintf("--pull=%t", j.Pull))
	if j.NoCache {
		args = append(args, "--no-cache")
	}
	args = append(args, dockerArgs(j)...)
	for _, s := range j.Secrets {
		args = append(args, "--secret", secretArg(s))
	}
	args = append(args, j.Context)
	push := append(slices.Clone(global), "push", j.name, "docker-archive:"+j.archive+":"+j.name)
	return [][]string{args, push}
}

// dockerArgs are the flags that buildah and docker have in common.
func dockerArgs(j job) []string {
	var args []string
	if j.dockerfile != "" {
		args = append(args, "--file", j.dockerfile)
	}
	if j.Target != "" {
		args = append(args, "--target", j.Target)
	}
	for _, k := range slices.Sorted(maps.Keys(j.Args)) {
		args = append(args, "--build-arg", k+"="+j.Args[k])
	}
	for _, k := range slices.Sorted(maps.Keys(j.Labels)) {
		args = append(args, "--label", k+"="+j.Labels[k])
	}
	for _, ref := range j.CacheFrom {
		args = append(args, "--cache-from", ref)
	}
	for _, host := range j.ExtraHosts {
		args = append(args, "--add-host", strings.Replace(host, "=", ":", 1))
	}
	if j.Network != "" && j.Network != "default" {
		args = append(args, "--network", j.Network)
	}
	if j.Platform != "" {
		args = append(args, "--platform", j.Platform)
	}
	if j.ShmBytes > 0 {
		args = append(args, "--shm-size", fmt.Sprint(j.ShmBytes))
	}
	return args
}

func secretArg(s holdfast.BuildSecret) string {
	if s.Env != "" {
		return "id=" + s.ID + ",env=" + s.Env
	}
	return "id=" + s.ID + ",src=" + s.File
}

func dockerSteps(j job) [][]string {
	args := []string{"build", "--tag", j.name}
	if j.Pull {
		args = append(args, "--pull")
	}
	if j.NoCache {
		args = append(args, "--no-cache")
	}
	args = append(args, dockerArgs(j)...)
	for _, s := range j.Secrets {
		args = append(args, "--secret", secretArg(s))
	}
	return [][]string{
		append(args, j.Context),
		{"save", "--output", j.archive, j.name},
	}
}

func buildctlSteps(j job) [][]string {
	args := []string{"build", "--frontend", "dockerfile.v0"}
	if isURL(j.Context) {
		args = append(args, "--opt", "context="+j.Context)
		if j.dockerfile != "" {
			args = append(args, "--opt", "filename="+j.dockerfile)
		}
	} else {
		args = append(args, "--local", "context="+j.Context,
			"--local", "dockerfile="+filepath.Dir(j.dockerfile), "--opt", "filename="+filepath.Base(j.dockerfile))
	}
	opts := map[string]string{"target": j.Target, "platform": j.Platform}
	for k, v := range j.Args {
		opts["build-arg:"+k] = v
	}
	for k, v := range j.Labels {
		opts["label:"+k] = v
	}
	if j.Network != "" && j.Network != "default" {
		opts["force-network-mode"] = j.Network
	}
	if len(j.ExtraHosts) > 0 {
		opts["add-hosts"] = strings.Join(j.ExtraHosts, ",")
	}
	if j.ShmBytes > 0 {
		opts["shm-size"] = fmt.Sprint(j.ShmBytes)
	}
	if j.Pull {
		opts["image-resolve-mode"] = "pull"
	}
	for _, k := range slices.Sorted(maps.Keys(opts)) {
		if opts[k] != "" || strings.Contains(k, ":") {
			args = append(args, "--opt", k+"="+opts[k])
		}
	}
	if j.NoCache {
		args = append(args, "--no-cache")
	}
	for _, ref := range j.CacheFrom {
		args = append(args, "--import-cache", "type=registry,ref="+ref)
	}
	for _, s := range j.Secrets {
		args = append(args, "--secret", secretArg(s))
	}
	return [][]string{append(args, "--output", "type=docker,name="+j.name+",dest="+j.archive)}
}
