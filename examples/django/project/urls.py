from django.urls import path

from . import views

urlpatterns = [
    path("slip", views.slip),
    path("announce/<str:room>", views.announce),
]
