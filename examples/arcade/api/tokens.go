package main

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokens issues and verifies the API's JWTs (RFC 7519), signed with HMAC-SHA256.
type tokens struct {
	key []byte
	now func() time.Time
}

func (t tokens) issue(player string) (string, error) {
	claims := jwt.RegisteredClaims{
		Subject:   player,
		Issuer:    "arcade",
		IssuedAt:  jwt.NewNumericDate(t.now()),
		ExpiresAt: jwt.NewNumericDate(t.now().Add(time.Hour)),
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(t.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}

// verify returns the player that the token speaks for.
func (t tokens) verify(token string) (string, error) {
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return t.key, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("arcade"), jwt.WithExpirationRequired(), jwt.WithTimeFunc(t.now))
	if err != nil {
		return "", fmt.Errorf("verify token: %w", err)
	}
	return claims.Subject, nil
}
