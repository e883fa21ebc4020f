package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/holdfast/holdfast"
)

// Pull fetches an image, as far as opt's policy asks, and tells progress of each step.
func (c *Client) Pull(ctx context.Context, ref string, opt PullOptions, progress func(PullProgress)) (Image, error) {
	body := struct {
		Ref string `json:"ref"`
		PullOptions
	}{ref, opt}
	for p, err := range stream[PullProgress](ctx, c, call{method: http.MethodPost, path: at("images", "pull"), json: body}) {
		if err != nil {
			return Image{}, err
		}
		progress(p)
		if p.Image != nil {
			return *p.Image, nil
		}
	}
	return Image{}, holdfast.Errorf(holdfast.ErrUnavailable, "pull %s: the agent stopped before the image was there", ref)
}

// Import sends a tar and names the image ref; "" keeps the name that the tar holds. With hold it is kept until a release
// names it, ten minutes at most.
func (c *Client) Import(ctx context.Context, ref string, hold bool, r io.Reader) (Image, error) {
	var img Image
	resp, err := c.do(ctx, call{
		method: http.MethodPost, path: at("images", "import"),
		query: values("ref", ref, "hold", flag(hold)), raw: r, rawType: tarType,
	})
	if err != nil {
		return img, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&img); err != nil {
		return img, transportError(err)
	}
	return img, nil
}

// Tag gives the image that ref names another name as well.
func (c *Client) Tag(ctx context.Context, ref, name string) error {
	_, err := get[none](ctx, c, call{method: http.MethodPost, path: at("images", "tag"), json: map[string]string{"ref": ref, "name": name}})
	return err
}

// Images lists the node's images.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	return get[[]Image](ctx, c, call{method: http.MethodGet, path: at("images")})
}

// Image returns one image. ErrNotFound.
func (c *Client) Image(ctx context.Context, ref string) (Image, error) {
	return get[Image](ctx, c, call{method: http.MethodGet, path: at("images", "inspect"), query: values("ref", ref)})
}

// RemoveImage removes an image's name, and what nothing else needs.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	_, err := get[none](ctx, c, call{method: http.MethodDelete, path: at("images"), query: values("ref", ref)})
	return err
}

// PruneImages removes images that no release in history needs.
func (c *Client) PruneImages(ctx context.Context) (Pruned, error) {
	return get[Pruned](ctx, c, call{method: http.MethodPost, path: at("images", "prune")})
}

// Volumes lists the node's volumes.
func (c *Client) Volumes(ctx context.Context) ([]VolumeInfo, error) {
	return get[[]VolumeInfo](ctx, c, call{method: http.MethodGet, path: at("volumes")})
}

// Volume returns one volume. ErrNotFound.
func (c *Client) Volume(ctx context.Context, name string) (VolumeInfo, error) {
	return get[VolumeInfo](ctx, c, call{method: http.MethodGet, path: at("volumes", name)})
}

// RemoveVolume deletes a volume and its data.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	_, err := get[none](ctx, c, call{method: http.MethodDelete, path: at("volumes", name)})
	return err
}

// PruneVolumes deletes the volumes that no app names.
func (c *Client) PruneVolumes(ctx context.Context) (Pruned, error) {
	return get[Pruned](ctx, c, call{method: http.MethodPost, path: at("volumes", "prune")})
}
