// The viewer, told to ask nobody but this server: by default it shows a badge of a validator on the internet.
window.addEventListener("load", () => {
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    displayOperationId: true,
    displayRequestDuration: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    persistAuthorization: false,
    showCommonExtensions: true,
    showExtensions: true,
    tryItOutEnabled: false,
    validatorUrl: null,
  });
});
