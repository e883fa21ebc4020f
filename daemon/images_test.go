package daemon

import (
	"reflect"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
)

func TestHealthOfImages(t *testing.T) {
	second := holdfast.Duration(time.Second)
	for _, tt := range []struct {
		name   string
		config v1.Config
		want   *holdfast.Probe
	}{
		{"none", v1.Config{}, nil},
		{"disabled", v1.Config{Healthcheck: &v1.HealthConfig{Test: []string{"NONE"}}}, nil},
		{"empty", v1.Config{Healthcheck: &v1.HealthConfig{}}, nil},
		{"arguments and defaults", v1.Config{Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "check", "-q"}}}, &holdfast.Probe{
			Exec: []string{"check", "-q"}, Interval: 10 * second, Timeout: 30 * second, StartPeriod: 60 * second, StartInterval: second, Retries: 3,
		}},
		{"shell and all given", v1.Config{Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD-SHELL", "curl -f localhost || exit 1"}, Interval: 5 * time.Second, Timeout: 2 * time.Second,
			StartPeriod: 7 * time.Second, Retries: 9,
		}}, &holdfast.Probe{
			Exec: []string{"/bin/sh", "-c", "curl -f localhost || exit 1"}, Interval: 5 * second, Timeout: 2 * second,
			StartPeriod: 7 * second, StartInterval: second, Retries: 9,
		}},
		{"shell of its own", v1.Config{Shell: []string{"/bin/bash", "-ec"}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD-SHELL", "true"}}}, &holdfast.Probe{
			Exec: []string{"/bin/bash", "-ec", "true"}, Interval: 10 * second, Timeout: 30 * second, StartPeriod: 60 * second, StartInterval: second, Retries: 3,
		}},
	} {
		got := healthOf(tt.config)
		if !reflect.DeepEqual(got.Readiness, tt.want) || !reflect.DeepEqual(got.Liveness, tt.want) {
			t.Errorf("%s: readiness %+v, liveness %+v, want %+v", tt.name, got.Readiness, got.Liveness, tt.want)
		}
		if got.Readiness != nil && got.Readiness == got.Liveness {
			t.Errorf("%s: both probes are one", tt.name)
		}
	}
}
